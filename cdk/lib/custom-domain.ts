/** A host name of the user's own before the API. */

import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as apigatewayv2 from 'aws-cdk-lib/aws-apigatewayv2';
import * as route53 from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { DomainSettings } from './settings.ts';

export interface CustomDomainProps {
  readonly settings: DomainSettings;
  readonly apiId: string;
  readonly stage: string;
}

export class CustomDomain extends Construct {
  /** The name that the user's own has to lead to. */
  readonly target: string;
  /** Must be there before the API can be called by the name. */
  readonly mapping: apigatewayv2.CfnApiMapping;

  constructor(scope: Construct, id: string, props: CustomDomainProps) {
    super(scope, id);
    const { name, certificateArn, hostedZoneId } = props.settings;
    const domain = new apigatewayv2.DomainName(this, 'Name', {
      domainName: name,
      certificate: acm.Certificate.fromCertificateArn(this, 'Certificate', certificateArn),
      endpointType: apigatewayv2.EndpointType.REGIONAL,
      securityPolicy: apigatewayv2.SecurityPolicy.TLS_1_2,
    });
    this.target = domain.regionalDomainName;
    // The same kind of mapping serves REST and WebSocket APIs; CDK's own knows only the latter.
    this.mapping = new apigatewayv2.CfnApiMapping(this, 'Mapping', {
      apiId: props.apiId,
      domainName: domain.name,
      stage: props.stage,
    });
    if (!hostedZoneId) return;
    new route53.CfnRecordSet(this, 'Record', {
      hostedZoneId,
      name,
      type: 'A',
      aliasTarget: { dnsName: domain.regionalDomainName, hostedZoneId: domain.regionalHostedZoneId },
    });
  }
}
