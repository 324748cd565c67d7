# shellcheck shell=bash
# What scripts/deploy looks at before it changes anything. Sourced by it, after aws.sh; the variables are its.
# shellcheck disable=SC2154 # region, stack, type, push, digest: scripts/deploy sets them

check_all() {
  check_tools
  check_aws
  check_settings
  check_stack
  check_models
  check_quotas
  check_network
}

check_tools() {
  local version
  version=$(node --version 2>/dev/null) || fail "Node.js is needed for the CDK. Install version 20 or later from https://nodejs.org."
  version=${version#v}
  [ "${version%%.*}" -ge 20 ] || fail "Node.js $version is too old for the CDK. Install version 20 or later from https://nodejs.org."
  [ -z "$push" ] || check_container_tool "; or deploy an image that is in ECR with --no-push"
  if [ cdk/package-lock.json -nt cdk/node_modules/.package-lock.json ]; then
    say "installing the CDK and what the stack needs, into cdk/node_modules"
    quietly npm ci --prefix cdk --no-audit --no-fund --silent >&2 ||
      fail "npm could not install what cdk/package-lock.json lists: $(reason). Check the network, and npm's settings."
  fi
}

# The stack's own rules, and the facts that the later checks and lines read. An image that is not pushed yet has
# no digest, and a template needs one.
check_settings() {
  local none
  none=sha256:$(printf '0%.0s' {1..64})
  synth "${digest:-$none}" "${architecture:-x86_64}" >&2 || fail "The settings do not make a stack; the reasons are above."
  local template=$work/cdk.out/$stack.template.json
  [ -f "$template" ] || fail "The CDK made no template of $stack. Check STACK_NAME."
  (cd cdk && node --import tsx bin/facts.ts "$template") >"$work/facts"
}

# A fact of the template, as cdk/lib/facts.ts names it.
fact() { sed -n "s/^$1=//p" "$work/facts"; }

# Sets `running`, the digest that is deployed, `running_authorizer`, where that has an image of its own, and
# `answering`, the function that answers; all empty where there is no stack.
check_stack() {
  local status
  status=$(stack_status "$stack") || exit 1
  running='' running_authorizer='' answering=''
  case $status in
    '') return 0 ;;
    ROLLBACK_COMPLETE | ROLLBACK_FAILED | DELETE_FAILED | REVIEW_IN_PROGRESS)
      fail "The stack $stack is in $status, which CloudFormation does not update. Remove it with scripts/destroy, and deploy again." ;;
    UPDATE_ROLLBACK_FAILED)
      fail "The stack $stack is in $status. Run aws cloudformation continue-update-rollback --stack-name $stack, and deploy again." ;;
    *IN_PROGRESS) fail "The stack $stack is being changed ($status). Wait until that is over, and deploy again." ;;
  esac
  read_outputs
  running=$(output ImageDigest) running_authorizer=$(output AuthorizerImageDigest)
  answering=$(ask_aws cloudformation list-stack-resources --stack-name "$stack" \
    --query "StackResourceSummaries[?ResourceType=='AWS::Lambda::Function' && starts_with(LogicalResourceId, 'Function')].[PhysicalResourceId]") ||
    fail_of_aws cloudformation CloudFormation ListStackResources
  check_name
}

# API Gateway has no APIs of both kinds under one name, and CloudFormation makes the new one first.
check_name() {
  local name
  name=$(setting DOMAIN_NAME)
  case $type,$(output StageUrl) in
    *, | rest,https:* | websocket,wss:*) return 0 ;;
  esac
  [ "$name" != "$(output ApiUrl | cut -d / -f 3)" ] ||
    fail "DOMAIN_NAME=$name belongs to the API that runs, which is of the other kind, so API_GATEWAY_TYPE=$type cannot take it over in one step. Empty DOMAIN_NAME, deploy once without it, and again with it."
}

# The models that are named, by a call of the control plane: nothing is generated.
check_models() {
  local model
  for model in $(fact models); do check_model "$model" "$(fact default_model)"; done
}

check_model() {
  local said why=''
  if ! said=$(ask_aws bedrock get-foundation-model-availability --model-id "$1" \
    --query '[regionAvailability, authorizationStatus, entitlementAvailability, agreementAvailability.status]'); then
    case $(cat "$work/error") in
      *"nvalid choice"*) say "This AWS CLI is too old to ask for access to models. Access to $1 was not checked."; return ;;
      *AccessDenied* | *"not authorized"*) say "These credentials may not ask for access to models (bedrock:GetFoundationModelAvailability). Access to $1 was not checked."; return ;;
      *ResourceNotFound* | *ValidationException*) why="Bedrock in $region does not know it" ;;
      *) fail_of_aws bedrock Bedrock GetFoundationModelAvailability ;;
    esac
  fi
  case $said in
    NOT_AVAILABLE*) why="it is not offered in $region" ;;
    *$'\t'NOT_AUTHORIZED*) why="this account is not authorized to use it" ;;
    *$'\t'NOT_AVAILABLE$'\t'* | *$'\t'NOT_AVAILABLE) why="this account has not agreed to its terms" ;;
    *$'\t'PENDING | *$'\t'ERROR) why="the agreement to its terms is ${said##*$'\t'}" ;;
  esac
  [ -n "$why" ] || return 0
  why="$1 cannot be asked: $why. Open it in the Bedrock console of $region (Model catalog), or name other models in DEFAULT_MODEL and ALLOWED_MODELS."
  if [ "$1" = "$2" ]; then fail "$why"; fi
  say "$why"
}

# What the account allows. Short of it requests are refused under load, but the stack works.
check_quotas() {
  local most wanted rate
  wanted=$(($(fact workers) + 10))
  if ! most=$(ask_aws lambda get-account-settings --query AccountLimit.ConcurrentExecutions); then
    say "Lambda's quota could not be read ($(reason)); it was not checked."
  elif [ "$most" -lt "$wanted" ]; then
    say "Lambda runs at most $most functions at once in this account and region, and every open reply is one: have at least $wanted. Ask for more in Service Quotas (Lambda, Concurrent executions)."
  fi
  if ! rate=$(ask_aws apigateway get-account --query throttleSettings.rateLimit); then
    say "API Gateway's quota could not be read ($(reason)); it was not checked."
  elif rate=${rate%%.*} && [[ $rate =~ ^[0-9]+$ && $rate -lt 1000 ]]; then
    say "API Gateway takes at most $rate requests a second in this account and region, and every WebSocket push is one. Ask for more in Service Quotas (API Gateway, Throttle rate)."
  fi
}

# A function in a VPC reaches an API's @connections by a NAT route only: an endpoint for execute-api would
# turn its pushes into 403.
check_network() {
  local vpc subnet routes
  vpc=$(setting VPC)
  [ -n "$vpc" ] && [ "$type" = websocket ] || return 0
  for subnet in $(setting VPC_SUBNETS | tr ',' ' '); do
    routes=$(routes_of association.subnet-id "$subnet") || exit 1
    # A subnet without a table of its own has the VPC's.
    [ -n "$routes" ] || routes=$(routes_of vpc-id "$vpc" Name=association.main,Values=true) || exit 1
    case $routes in
      *nat-* | *tgw-* | *vgw-* | *eni-* | *i-*) ;;
      *) fail "VPC_SUBNETS: $subnet has no route to a NAT gateway, so the functions could not push to WebSocket clients. Give its route table 0.0.0.0/0 to a NAT gateway (about \$33 a month each, and \$0.045 a GB), or deploy without VPC." ;;
    esac
  done
  say "WebSocket pushes leave the VPC by its NAT route. A NAT gateway costs about \$33 a month, and \$0.045 a GB; it is yours, and not in the costs below."
}

# Where the default routes of a route table lead.
routes_of() {
  ask_aws ec2 describe-route-tables --filters "Name=$1,Values=$2" "${@:3}" --query \
    "RouteTables[].Routes[?DestinationCidrBlock=='0.0.0.0/0'][].[NatGatewayId, TransitGatewayId, NetworkInterfaceId, InstanceId, GatewayId][] | [?@]" ||
    fail_of_aws ec2 EC2 DescribeRouteTables
}

# Says the standing charge before it is made.
agree_to_costs() {
  local idle
  idle=$(fact idle_cost)
  case $idle in
    '' | 0 | 0.0 | 0.00) return 0 ;;
  esac
  if [ -n "$running" ] && [ "$(output IdleCostUsd)" = "$idle" ]; then return 0; fi
  confirm "This stack costs about \$$idle a month even when nobody uses it." yes
}
