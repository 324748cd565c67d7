/**
 * `presign.ts URL REGION`: prints a URL of an API with IAM authentication that opens for five minutes, signed
 * with the credentials of the environment. For clients that cannot sign, such as wscat.
 */

import aws4 from 'aws4';

const [address = '', region = ''] = process.argv.slice(2);
const { protocol, host, pathname } = new URL(address);
const request = { service: 'execute-api', region, host, path: `${pathname}?X-Amz-Expires=300`, signQuery: true };
console.log(`${protocol}//${host}${aws4.sign(request).path}`);
