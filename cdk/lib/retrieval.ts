/** OpenSearch: one that exists, by its endpoint, or one that the stack makes. */

import { RemovalPolicy, SecretValue, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as opensearch from 'aws-cdk-lib/aws-opensearchservice';
import { Construct } from 'constructs';
import { Collection } from './collection.ts';
import type { GatewayFunction } from './gateway-function.ts';
import type { Network } from './network.ts';
import { collectionId, domainName, regionOf, type RetrievalSettings } from './retrieval-settings.ts';

export interface RetrievalProps {
  readonly settings: RetrievalSettings;
  readonly network?: Network;
  /** Whether what is made outlives the stack. */
  readonly retain: boolean;
}

/** What a search asks of an index: its fields and its state, which learned answers are told apart by, and itself. */
const SEARCHES = [
  ['es:ESHttpGet', '_mapping'],
  ['es:ESHttpGet', '_settings'],
  ['es:ESHttpPost', '_search'],
] as const;

export class Retrieval extends Construct {
  /** The address, with https. */
  readonly endpoint: string;
  /** May fill the index that the stack makes; to be attached to whom the user chooses. */
  readonly writers?: iam.ManagedPolicy;
  private readonly settings: RetrievalSettings;
  private readonly domain?: opensearch.Domain;
  private readonly collection?: Collection;

  constructor(scope: Construct, id: string, props: RetrievalProps) {
    super(scope, id);
    this.settings = props.settings;
    const { create, index, writers, endpoint } = props.settings;
    if (create === 'domain') {
      this.domain = this.makeDomain(props);
      this.endpoint = `https://${this.domain.domainEndpoint}`;
    } else if (create === 'serverless') {
      this.collection = new Collection(this, 'Collection', { index, writers, retain: props.retain });
      this.endpoint = this.collection.endpoint;
    } else {
      this.endpoint = endpoint ?? '';
    }
    if (create) this.writers = this.makeWriters();
  }

  /** Lets a function search, and tells it where. */
  grantSearch(to: GatewayFunction): void {
    const { auth, service, passwordSecret } = this.settings;
    to.set('OPENSEARCH_DOMAIN_ENDPOINT', this.endpoint);
    if (passwordSecret) {
      // Resolved by CloudFormation: neither the template nor the command line ever has it.
      to.set('OPENSEARCH_PASSWORD', SecretValue.secretsManager(passwordSecret).unsafeUnwrap());
    }
    if (auth !== 'iam') return;
    if (service === 'aoss') {
      const arn = this.collection?.arn ?? this.arnOf('aoss', 'collection', collectionId(this.endpoint));
      this.collection?.grantSearch(to.role);
      to.allow({ actions: ['aoss:APIAccessAll'], resources: [arn] });
      return;
    }
    const domain = this.domain?.domainArn ?? this.arnOf('es', 'domain', domainName(this.endpoint));
    for (const [action, path] of SEARCHES) {
      to.allow({ actions: [action], resources: [`${domain}/${this.settings.index}/${path}`] });
    }
  }

  /** What an existing endpoint belongs to. */
  private arnOf(service: string, resource: string, resourceName: string | undefined): string {
    const region = regionOf(this.endpoint);
    return this.settings.arn ?? Stack.of(this).formatArn({ service, region, resource, resourceName });
  }

  private makeWriters(): iam.ManagedPolicy {
    const { domain, collection } = this;
    const made = `${domain?.domainArn}/${this.settings.index}`;
    const statement = collection
      ? { actions: ['aoss:APIAccessAll'], resources: [collection.arn] }
      : {
          actions: ['Get', 'Post', 'Put'].map((method) => `es:ESHttp${method}`),
          resources: [made, `${made}/*`],
        };
    const description = 'May fill the index of LLM Gateway';
    return new iam.ManagedPolicy(this, 'Writers', { description, statements: [new iam.PolicyStatement(statement)] });
  }

  private makeDomain({ network, retain }: RetrievalProps): opensearch.Domain {
    return new opensearch.Domain(this, 'Domain', {
      version: opensearch.EngineVersion.OPENSEARCH_2_19,
      capacity: { dataNodes: 1, dataNodeInstanceType: 't3.small.search', multiAzWithStandbyEnabled: false },
      ebs: { volumeSize: 10, volumeType: ec2.EbsDeviceVolumeType.GP3 },
      enforceHttps: true,
      tlsSecurityPolicy: opensearch.TLSSecurityPolicy.TLS_1_2_PFS,
      nodeToNodeEncryption: true,
      encryptionAtRest: { enabled: true },
      removalPolicy: retain ? RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE : RemovalPolicy.DESTROY,
      ...(network
        ? { vpc: network.vpc, vpcSubnets: [this.oneSubnet(network)], securityGroups: [this.openTo(network)] }
        : {}),
    });
  }

  /** One node lives in one subnet. */
  private oneSubnet(network: Network): ec2.SubnetSelection {
    return { subnets: network.subnets.subnets?.slice(0, 1) };
  }

  private openTo(network: Network): ec2.SecurityGroup {
    const group = new ec2.SecurityGroup(this, 'Group', {
      vpc: network.vpc,
      description: 'OpenSearch of LLM Gateway takes HTTPS from its functions',
      allowAllOutbound: false,
    });
    group.addIngressRule(network.securityGroup, ec2.Port.tcp(443), 'HTTPS from the functions');
    return group;
  }
}
