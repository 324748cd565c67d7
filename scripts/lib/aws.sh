# shellcheck shell=bash
# What the scripts share that speak to AWS: settings, sentences, and the AWS CLI. Sourced from the root
# of the repository, by a script that has set `name`. Works with bash 3.2 on.
# shellcheck disable=SC2154 # `name` is the sourcing script's

work=$(mktemp -d)
new=.env.new.$$
trap 'rm -rf "$work" $new' EXIT
# Output goes to this script, never into a pager.
export AWS_PAGER=

say() { echo "$name: $*" >&2; }
fail() { say "$*"; exit 1; }

# The file of settings: .env, or what it is made from.
settings_file() {
  local file=.env
  [ -e .env ] || file=template.env
  [[ -f $file && -r $file ]] || fail "$file cannot be read. See that it is a file, and yours."
  echo $file
}

# The value of a setting: the environment's, else the last one in .env.
setting() {
  local value=${!1:-} file
  file=$(settings_file) || exit 1
  [ -n "$value" ] || value=$(sed -n "s/^$1=//p" "$file" | tail -n 1 | tr -d "\"'\r")
  printf '%s' "$value"
}

# Exports every setting of .env that the environment does not have.
export_settings() {
  local file key
  file=$(settings_file) || exit 1
  while read -r key; do
    export "$key=$(setting "$key")"
  done < <(sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' "$file")
}

# Puts lines (NAME=VALUE) into .env and leaves every other one as it is.
write_env() { rewrite "$(settings_file)" "$@" 2>"$work/error"; }

# A copy of .env has its owner and its mode; a new one is its owner's alone.
rewrite() {
  if [ "$1" = .env ]; then cp -p .env "$new"; else (umask 077 && : >"$new"); fi &&
    awk -v lines="${*:2}" '
      BEGIN { count = split(lines, line, " "); for (i = 1; i <= count; i++) { split(line[i], part, "="); of[part[1]] = line[i] } }
      { split($0, part, "=") }
      part[1] in of { if (!(part[1] in done)) print of[part[1]]; done[part[1]]; next }
      { print }
      END { for (i = 1; i <= count; i++) { split(line[i], part, "="); if (!(part[1] in done)) print line[i] } }
    ' "$1" >"$new" && mv -f "$new" .env
}

# Runs a command whose words of failure are kept for a sentence.
quietly() { "$@" 2>"$work/error"; }
reason() { tail -n 20 "$work/error" | sed '/^[[:space:]]*$/d' | tail -n 1 | grep . || echo "no reason was given"; }

# A call of the AWS CLI in the stack's region (`region`), as text.
ask_aws() { quietly aws --region "$region" "$@" --output text; }

# Ends with a sentence about the call that has just failed: the service as the CLI has it, its name, the action.
fail_of_aws() {
  case $(cat "$work/error") in
    *"locate credentials"* | *NoCredentials*) fail "There are no AWS credentials. Run aws configure or aws sso login, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." ;;
    *xpired* | *"loading SSO Token"*) fail "The AWS credentials have expired. Run aws sso login, or get new ones." ;;
    *UnrecognizedClient* | *InvalidClientTokenId* | *InvalidSignature* | *"security token"*) fail "AWS does not accept these credentials. Check them with aws sts get-caller-identity." ;;
    *AccessDenied* | *"not authorized"* | *UnauthorizedOperation*) fail "These credentials may not use $2 for $3. Have $1:$3 allowed. AWS says: $(reason)" ;;
    *"onnect to the endpoint"* | *"nvalid endpoint"* | *"region_name"*) fail "$2 does not answer in REGION_ID=$region. Check the region's name and the network." ;;
    *) fail "$2 refused $3: $(reason). Put that right and try again." ;;
  esac
}

# Ends unless the container tool is there and answers. Takes what else can be done without it. Sets `tool`.
check_container_tool() {
  tool=${CONTAINER_TOOL:-docker}
  command -v "$tool" >/dev/null ||
    fail "$tool is not installed. Install Docker from https://docs.docker.com/get-docker, or podman, and set CONTAINER_TOOL=podman${1:-}."
  quietly "$tool" info >/dev/null || fail "$tool does not answer ($(reason)). Start it, and see that you may use it."
}

# Ends unless the AWS CLI is there, its credentials are taken, and the region answers. Sets `account`.
check_aws() {
  command -v aws >/dev/null || fail "The AWS CLI (aws) is needed. Install it from https://aws.amazon.com/cli."
  [[ $region =~ ^[a-z]{2}(-[a-z]+)+-[0-9]$ ]] ||
    fail "REGION_ID=$region is no region. Write the stack's region into .env, such as REGION_ID=us-east-1."
  account=$(ask_aws sts get-caller-identity --query Account) || fail_of_aws sts STS GetCallerIdentity
}

# The stack's status, or nothing where there is no such stack.
stack_status() {
  ask_aws cloudformation describe-stacks --stack-name "$1" --query 'Stacks[0].StackStatus' && return
  grep -q "does not exist" "$work/error" || fail_of_aws cloudformation CloudFormation DescribeStacks
}

# Reads the stack's outputs, for `output`; there are none where there is no stack.
read_outputs() {
  ask_aws cloudformation describe-stacks --stack-name "$stack" \
    --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' >"$work/outputs" ||
    fail_of_aws cloudformation CloudFormation DescribeStacks
}

# One output of the stack, as it was read; nothing where it has none of that name.
output() { [ ! -f "$work/outputs" ] || awk -F '\t' -v name="$1" '$1 == name { printf "%s", $2 }' "$work/outputs"; }

# Asks before something that cannot be undone or costs money: nothing else than the expected word will do.
confirm() {
  local said
  [ -z "${yes:-}" ] || return 0
  [ -t 0 ] || fail "$1 Add --yes to do that from a script."
  read -r -p "$1 Type $2 to go on: " said || true
  [ "$said" = "$2" ] || fail "Nothing was changed."
}
