# shellcheck shell=bash
# How a deployment is asked: by scripts/deploy, and by whoever pastes what it prints. Sourced by it.
# shellcheck disable=SC2154 # region, stack, work: scripts/deploy and aws.sh set them

QUESTION='What is a dead letter? Answer in one sentence.'

# Asks the deployed URL. The key and the credentials go through a pipe, never into an argument.
smoke_test() {
  local url auth model
  # A name of the user's own may not lead to the API yet.
  url=$(output StageUrl) auth=$(output AuthMode) model=$(fact callable)
  url=${SMOKE_URL:-${url:-$(output ApiUrl)}}
  { api_key && credentials; } >"$work/secrets" || return
  (cd cdk && node --import tsx bin/smoke.ts "$url" "$auth" "$model" "$region" <"$work/secrets")
}

# One line: the key's value; empty where there is none.
api_key() {
  local id
  id=$(output ApiKeyId)
  [ -n "$id" ] || { echo; return; }
  ask_aws apigateway get-api-key --api-key "$id" --include-value --query value ||
    fail_of_aws apigateway "API Gateway" GetApiKey
}

# What requests are signed with, where they have to be; nothing where the environment has it.
credentials() {
  [ -z "${AWS_ACCESS_KEY_ID:-}" ] || return 0
  case $auth in
    *iam*) quietly aws configure export-credentials --format process ||
      fail "The AWS CLI does not give its credentials ($(reason)). Install its version 2, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." ;;
  esac
}

print_lines() {
  local url auth key id out
  url=$(output ApiUrl) auth=$(output AuthMode) id=$(output ApiKeyId)
  echo
  echo "$stack runs $digest in $region."
  for out in ApiUrl DomainTarget FunctionUrl CallerPolicyArn FunctionRoleArn WorkerRoleArn DocumentsPolicyArn DashboardUrl AnswersTable StateTable JobsQueueUrl DeadLetterQueueUrl OpenSearchEndpoint; do
    key=$(output "$out")
    [ -z "$key" ] || printf '  %-19s %s\n' "$out" "$key"
  done
  echo
  echo "Idle it costs \$$(output IdleCostUsd) a month, and what is stored; 1,000 answers cost about \$$(output CostPer1000Usd), and \$$(output ModelCostPer1000Usd) to the model."
  echo "CloudWatch takes \$0.30 a month for each of 7 metrics of each model and each door that is used, by the hour."
  echo
  case $auth in *iam*) echo "Whoever is not an administrator needs the policy CallerPolicyArn to ask it." ;; esac
  if [ -n "$id" ]; then
    key=$(ask_aws apigateway get-api-key --api-key "$id" --query name) || fail_of_aws apigateway "API Gateway" GetApiKey
    echo "Ask it with the key $key, whose value the first line fetches:"
    echo
    echo "  key=\$(aws --region $region apigateway get-api-key --api-key $id --include-value --query value --output text)"
  else
    echo "Ask it:"
    echo
  fi
  case $auth in *iam*) say_credentials ;; esac
  call_line "$url" "$auth"
  url=$(output FunctionUrl)
  [ -z "$url" ] || function_line "$url"
}

# Puts credentials where the next line looks for them, in the reader's shell.
say_credentials() {
  # shellcheck disable=SC2016
  [ -n "${AWS_ACCESS_KEY_ID:-}" ] || echo '  eval "$(aws configure export-credentials --format env)"'
}

# The line for the API: its URL, its kind of authentication.
call_line() {
  local headers=''
  # shellcheck disable=SC2016
  case $2 in
    bearer) headers=' -H "Authorization: Bearer $key"' ;;
    *api-key*) headers=' -H "x-api-key: $key"' ;;
  esac
  case $1,$2 in
    ws*,*iam*)
      echo "  npx -y wscat@6.1.0 -c \"\$(cd cdk && node --import tsx bin/presign.ts $1 $region)\"$headers -w 10 -x '{\"action\":\"sendmessage\",\"prompt\":\"$QUESTION\"}'" ;;
    ws*) echo "  npx -y wscat@6.1.0 -c $1$headers -w 10 -x '{\"action\":\"sendmessage\",\"prompt\":\"$QUESTION\"}'" ;;
    *,*iam*) echo "  curl -s $1$(fact callable)$headers $(signing execute-api) -d '{\"prompt\":\"$QUESTION\"}'" ;;
    *) echo "  curl -s $1$(fact callable)$headers -d '{\"prompt\":\"$QUESTION\"}'" ;;
  esac
}

function_line() {
  echo
  echo "The function URL streams, and wants signed requests:"
  echo
  say_credentials
  echo "  curl -sN $1 $(signing lambda) -d '{\"bedrockParams\":{\"modelId\":\"$(fact callable)\"},\"modelParams\":{\"prompt\":\"$QUESTION\"}}'"
}

# curl's options for a signed request to a service.
signing() {
  # shellcheck disable=SC2016
  echo "--aws-sigv4 aws:amz:$region:$1"' --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -H "x-amz-security-token: ${AWS_SESSION_TOKEN-}"'
}
