/** Functions inside the user's VPC, and the endpoints through which they reach AWS from there. */

import { Annotations, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { GatewayFunction } from './gateway-function.ts';
import type { VpcSettings } from './settings.ts';

export interface NetworkProps {
  readonly settings: VpcSettings;
  /** Whether the functions speak to SQS. */
  readonly queue: boolean;
}

/** What a function of a VPC may do: Lambda asks it of the role, and names no resources for it. */
export const PLACEMENT_ACTIONS = [
  'ec2:AssignPrivateIpAddresses',
  'ec2:CreateNetworkInterface',
  'ec2:DeleteNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:UnassignPrivateIpAddresses',
];

export class Network extends Construct {
  readonly vpc: ec2.IVpc;
  readonly subnets: ec2.SubnetSelection;
  readonly securityGroup: ec2.ISecurityGroup;

  constructor(scope: Construct, id: string, props: NetworkProps) {
    super(scope, id);
    const { settings } = props;
    // Which zone a subnet is in does not matter here; CDK wants a name for it.
    const zones = settings.subnets.map((_, place) => `${Stack.of(this).region}-${place}`);
    this.vpc = ec2.Vpc.fromVpcAttributes(this, 'Vpc', { vpcId: settings.id, availabilityZones: zones });
    this.subnets = { subnets: settings.subnets.map((subnetId, place) => this.subnet(place, subnetId, zones[place])) };
    this.securityGroup = ec2.SecurityGroup.fromSecurityGroupId(this, 'SecurityGroup', settings.securityGroup, {
      // The group is the user's: nothing is added to it.
      mutable: false,
    });
    if (settings.endpoints) this.endpoints(props);
  }

  private subnet(place: number, subnetId: string, availabilityZone?: string): ec2.ISubnet {
    const subnet = ec2.Subnet.fromSubnetAttributes(this, `Subnet${place}`, { subnetId, availabilityZone });
    // Nothing here asks a subnet for its route table.
    Annotations.of(subnet).acknowledgeWarning('@aws-cdk/aws-ec2:noSubnetRouteTableId');
    return subnet;
  }

  /** Where a function is put. */
  placement(): Pick<ec2.InterfaceVpcEndpointProps, 'vpc'> & {
    vpcSubnets: ec2.SubnetSelection;
    securityGroups: ec2.ISecurityGroup[];
  } {
    return { vpc: this.vpc, vpcSubnets: this.subnets, securityGroups: [this.securityGroup] };
  }

  /** Lets Lambda put a function into the VPC; and only Lambda, not the function's own code. */
  grantPlacement(to: GatewayFunction): void {
    to.allow({ actions: PLACEMENT_ACTIONS, resources: ['*'] });
    const denied = new iam.PolicyStatement({
      effect: iam.Effect.DENY,
      actions: PLACEMENT_ACTIONS,
      resources: ['*'],
      conditions: { ArnEquals: { 'lambda:SourceFunctionArn': to.function.functionArn } },
    });
    // A policy of its own: it names the function, which waits for the role's other one.
    new iam.Policy(to, 'NoPlacement', { roles: [to.role], statements: [denied] });
  }

  /**
   * None for execute-api: its private DNS would answer for every API of the region, and pushes to a
   * public WebSocket API would end in 403.
   */
  private endpoints(props: NetworkProps): void {
    const { settings } = props;
    const stack = Stack.of(this);
    new ec2.CfnVPCEndpoint(this, 'DynamoDb', {
      vpcEndpointType: 'Gateway',
      vpcId: settings.id,
      serviceName: `com.amazonaws.${stack.region}.dynamodb`,
      routeTableIds: [...settings.routeTables],
    });
    const group = new ec2.SecurityGroup(this, 'EndpointGroup', {
      vpc: this.vpc,
      description: 'The endpoints of LLM Gateway take HTTPS from its functions',
      allowAllOutbound: false,
    });
    group.addIngressRule(this.securityGroup, ec2.Port.tcp(443), 'HTTPS from the functions');
    for (const service of ['bedrock-runtime', ...(props.queue ? ['sqs'] : [])]) {
      new ec2.CfnVPCEndpoint(this, service === 'sqs' ? 'Sqs' : 'Bedrock', {
        vpcEndpointType: 'Interface',
        vpcId: settings.id,
        serviceName: `com.amazonaws.${stack.region}.${service}`,
        subnetIds: [...settings.subnets],
        securityGroupIds: [group.securityGroupId],
        privateDnsEnabled: true,
      });
    }
  }
}
