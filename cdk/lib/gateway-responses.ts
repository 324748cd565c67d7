/**
 * What API Gateway says by itself, in the gateway's own error shape: refusals, limits, and failures of
 * the function. The codes and types are those of `lambda/gateway/src/error.rs`.
 */

import * as apigateway from 'aws-cdk-lib/aws-apigateway';

/** The error kinds that API Gateway can come to: code, type as OpenAI's clients know it. */
const TYPES = {
  invalid_request: 'invalid_request_error',
  unauthorized: 'authentication_error',
  forbidden: 'permission_error',
  not_found: 'not_found_error',
  too_large: 'invalid_request_error',
  throttled: 'rate_limit_error',
  upstream_error: 'api_error',
  deadline_exceeded: 'api_error',
  internal: 'api_error',
} as const;

/** One response: its code, its sentence (`$…` is API Gateway's own words), and whether to try again. */
type Said = readonly [code: keyof typeof TYPES, message: string, retry?: 'never' | 'soon'];

const REASON = '$context.error.message';
const KEY = 'The API key is missing, unknown, or not allowed here. Send one as x-api-key.';
const BROKEN = 'The gateway failed. Its log has the reason under this request id.';

/** Every response type of API Gateway; a test holds the list to CDK's. */
export const RESPONSES: Readonly<Record<string, Said>> = {
  ACCESS_DENIED: ['forbidden', 'These credentials may not call this API. Ask for execute-api:Invoke on it.'],
  API_CONFIGURATION_ERROR: ['internal', BROKEN],
  AUTHORIZER_CONFIGURATION_ERROR: ['internal', BROKEN],
  AUTHORIZER_FAILURE: ['internal', 'The key could not be checked. Try again.'],
  BAD_REQUEST_BODY: ['invalid_request', 'The body must be a JSON object.'],
  BAD_REQUEST_PARAMETERS: ['invalid_request', REASON],
  DEFAULT_4XX: ['invalid_request', REASON],
  DEFAULT_5XX: ['internal', BROKEN],
  EXPIRED_TOKEN: ['forbidden', 'The credentials have expired. Get new ones.'],
  INTEGRATION_FAILURE: ['upstream_error', 'The gateway gave no valid answer. Try again.'],
  INTEGRATION_TIMEOUT: ['deadline_exceeded', 'The gateway did not answer in time. Ask for a stream, or for less.', 'never'],
  INVALID_API_KEY: ['forbidden', KEY],
  INVALID_SIGNATURE: ['forbidden', 'The signature does not fit the request. Sign it for execute-api in this region.'],
  MISSING_AUTHENTICATION_TOKEN: ['forbidden', 'The request is not signed, or there is no such route. Sign it for execute-api.'],
  QUOTA_EXCEEDED: ['throttled', "The key's quota is used up until next month.", 'never'],
  REQUEST_TOO_LARGE: ['too_large', 'The request is too large. HTTP bodies have at most 6 MB.'],
  RESOURCE_NOT_FOUND: ['not_found', 'There is no such route.'],
  THROTTLED: ['throttled', 'There are too many requests just now. Try again in a second.', 'soon'],
  UNAUTHORIZED: ['unauthorized', 'A key is needed: send it as Authorization: Bearer, or as x-api-key.'],
  UNSUPPORTED_MEDIA_TYPE: ['invalid_request', 'The content type is not supported. Send application/json.'],
  WAF_FILTERED: ['forbidden', 'The request was blocked by a rule against abuse.'],
};

/** Statuses where AWS sets none that callers could act on. */
const STATUS: Readonly<Record<string, string>> = { INTEGRATION_FAILURE: '502', AUTHORIZER_FAILURE: '500' };

/** Adds them all; `origins` are the web pages that may read them. */
export function addGatewayResponses(api: apigateway.RestApi, origins: readonly string[]): void {
  for (const [name, [code, message, retry]] of Object.entries(RESPONSES)) {
    api.addGatewayResponse(name, {
      type: apigateway.ResponseType.of(name),
      statusCode: STATUS[name],
      responseHeaders: headers(origins, retry),
      templates: { 'application/json': body(code, message) },
    });
  }
}

function headers(origins: readonly string[], retry: Said[2]): Record<string, string> {
  return {
    'x-request-id': 'context.requestId',
    ...(retry === 'soon' ? { 'Retry-After': "'1'" } : {}),
    ...(retry === 'never' ? { 'x-should-retry': "'false'" } : {}),
    ...(origins.length > 0
      ? {
          'Access-Control-Allow-Origin': allowed(origins),
          'Access-Control-Expose-Headers': "'x-request-id, retry-after'",
          Vary: "'origin'",
        }
      : {}),
  };
}

/**
 * These responses cannot choose. One origin is named; of several the asking one is repeated, whoever
 * it is: there is nothing in here but a sentence, and browsers let only allowed pages send a key.
 */
function allowed(origins: readonly string[]): string {
  return origins.length === 1 ? `'${origins[0]}'` : 'method.request.header.Origin';
}

function body(code: keyof typeof TYPES, message: string): string {
  // API Gateway's own words come with their quotes, the others get them here.
  const text = message === REASON ? '$context.error.messageString' : JSON.stringify(message);
  return `{"message":${text},"error":{"message":${text},"type":"${TYPES[code]}","code":"${code}","param":null,"request_id":"$context.requestId"}}`;
}
