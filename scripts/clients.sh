#!/usr/bin/env bash
# The clients that people use, against a fresh server: aws cli, boto3, s3cmd, rclone, restic. Everything that goes up comes down and is compared by SHA-256.
# A client that cannot be had is named loudly and counts as skipped; --require makes that a failure.
# usage: clients.sh [--short] [--require] [--only CLIENT]    (--short: without the file of 2 GiB)
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
short=0 required=0 clients="aws boto3 s3cmd rclone restic" ran=() skipped=()
while [ $# -gt 0 ]; do
    case "$1" in
        --short) short=1; shift ;;
        --require) required=1; shift ;;
        --only) clients=$2; shift 2 ;;
        *) fail "unknown option $1" ;;
    esac
done
export AWS_ACCESS_KEY_ID=$OBJECTSTORE_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$OBJECTSTORE_SECRET_KEY AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
# Nothing of the user's own configuration; a bundle of certificates is of no use on loopback and stops rclone.
export AWS_CONFIG_FILE="$work/aws-config" AWS_SHARED_CREDENTIALS_FILE="$work/aws-credentials"
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN

have() { # installs a package where that is possible; $1: command
    command -v "$1" >/dev/null && return 0
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        { apt-get install -y -q "$1" || { apt-get update -q && apt-get install -y -q "$1"; }; } >>"$work/apt.log" 2>&1 </dev/null || true
    fi
    command -v "$1" >/dev/null
}

skip() { echo "SKIPPED: $1: $2" >&2; skipped+=("$1"); }

sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum); }

same() { # $1, $2: folders; $3: what
    diff <(sums "$1") <(sums "$2") >&2 || fail "$3: what came down is not what went up"
}

start_server data
files="$work/files"
mkdir -p "$files/sub folder/deeper"
: >"$files/empty"
printf x >"$files/one"
head -c $((5 << 20)) /dev/urandom >"$files/five MiB"
head -c $((100 << 20)) /dev/urandom >"$files/hundred+MiB"
printf percent >"$files/100% %41.txt"
printf unicode >"$files/sub folder/größe 日本語 🙂.txt"
printf deeper >"$files/sub folder/deeper/a&b=c;d.txt"
[ $short -eq 1 ] || head -c $((2 << 30)) /dev/urandom >"$files/two GiB"

client_aws() {
    local aws=(aws --endpoint-url "$endpoint") key
    # Without it the CLI presigns by Signature Version 2, which the server refuses.
    aws configure set default.s3.signature_version s3v4
    "${aws[@]}" s3 mb s3://aws-cli >/dev/null
    "${aws[@]}" s3 sync --no-progress "$files" s3://aws-cli/sync/ >/dev/null
    [ -z "$("${aws[@]}" s3 sync --no-progress --dryrun "$files" s3://aws-cli/sync/)" ] || fail "aws s3 sync finds differences after a sync"
    "${aws[@]}" s3 sync --no-progress s3://aws-cli/sync/ "$work/aws-down" >/dev/null
    same "$files" "$work/aws-down" "aws s3 sync"
    for key in "plain" "/leading slash" "plus+sign" "percent%20" "ünïcode"; do
        "${aws[@]}" s3api put-object --bucket aws-cli --key "$key" --body "$files/five MiB" >/dev/null
        "${aws[@]}" s3api get-object --bucket aws-cli --key "$key" "$work/one-down" >/dev/null
        cmp "$files/five MiB" "$work/one-down" || fail "aws s3api: $key"
    done
    "${aws[@]}" s3 cp --no-progress "$files/hundred+MiB" "s3://aws-cli/copied" >/dev/null
    "${aws[@]}" s3 cp --no-progress "s3://aws-cli/copied" "s3://aws-cli/copied again" >/dev/null
    "${aws[@]}" s3 cp --no-progress "s3://aws-cli/copied again" - | cmp - "$files/hundred+MiB" || fail "aws s3 cp"
    "${aws[@]}" s3 ls --recursive s3://aws-cli/ | grep "copied again" >/dev/null || fail "aws s3 ls"
    "${aws[@]}" s3 presign "s3://aws-cli/copied" | xargs curl -fsS | cmp - "$files/hundred+MiB" || fail "aws s3 presign"
    "${aws[@]}" s3 rm --recursive s3://aws-cli/ >/dev/null
    [ -z "$("${aws[@]}" s3 ls --recursive s3://aws-cli/)" ] || fail "aws s3 rm left objects"
    "${aws[@]}" s3 rb s3://aws-cli >/dev/null
    rm -rf "$work/aws-down" "$work/one-down"
}

client_boto3() {
    python3 - "$endpoint" "$files" <<'PY'
import hashlib, io, os, sys
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
endpoint, files = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint)
s3.create_bucket(Bucket="boto3")
config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
digest = lambda data: hashlib.sha256(data).hexdigest()
expected = {}
for folder, _, names in os.walk(files):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.getsize(path) > 200 << 20: continue
        key = "/" + os.path.relpath(path, files)
        expected[key] = digest(open(path, "rb").read())
        s3.upload_file(path, "boto3", key, Config=config)
listed = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto3", PaginationConfig={"PageSize": 3}) for o in page.get("Contents", [])]
assert sorted(listed, key=str.encode) == listed and set(listed) == set(expected), (listed, expected)
for key, sha in expected.items():
    buffer = io.BytesIO()
    s3.download_fileobj("boto3", key, buffer, Config=config)
    assert digest(buffer.getvalue()) == sha, key
for algorithm in ("CRC32", "SHA1", "SHA256"):
    put = s3.put_object(Bucket="boto3", Key=algorithm, Body=b"checksummed", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="boto3", Key=algorithm, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"checksummed" and got["Checksum" + algorithm] == put["Checksum" + algorithm]
    expected[algorithm] = ""
put = s3.put_object(Bucket="boto3", Key="default", Body=io.BytesIO(b"default checksum"))
assert put.get("ChecksumCRC32"), "no default checksum in the answer"
expected["default"] = ""
try:
    s3.put_object(Bucket="boto3", Key="default", Body=b"x", IfNoneMatch="*")
    raise AssertionError("If-None-Match did not hold")
except ClientError as error:
    assert error.response["Error"]["Code"] == "PreconditionFailed", error
answer = s3.delete_objects(Bucket="boto3", Delete={"Objects": [{"Key": key} for key in expected]})
assert len(answer["Deleted"]) == len(expected) and "Errors" not in answer
s3.delete_bucket(Bucket="boto3")
PY
}

client_s3cmd() {
    cat >"$work/s3cfg" <<CFG
[default]
access_key = $OBJECTSTORE_ACCESS_KEY
secret_key = $OBJECTSTORE_SECRET_KEY
host_base = ${endpoint#http://}
host_bucket = ${endpoint#http://}
use_https = False
signature_v2 = False
CFG
    local s3cmd=(s3cmd -c "$work/s3cfg" --no-progress -q)
    "${s3cmd[@]}" mb s3://s3cmd
    "${s3cmd[@]}" sync "$files/" s3://s3cmd/sync/
    mkdir -p "$work/s3cmd-down"
    "${s3cmd[@]}" sync s3://s3cmd/sync/ "$work/s3cmd-down/"
    same "$files" "$work/s3cmd-down" s3cmd
    "${s3cmd[@]}" ls -r s3://s3cmd/ >/dev/null
    "${s3cmd[@]}" del -r -f s3://s3cmd/sync/
    "${s3cmd[@]}" rb s3://s3cmd
    rm -rf "$work/s3cmd-down"
}

client_rclone() {
    local remote=":s3,provider=Other,endpoint='$endpoint',access_key_id='$OBJECTSTORE_ACCESS_KEY',secret_access_key='$OBJECTSTORE_SECRET_KEY',region=us-east-1:rclone"
    local rclone=(rclone --config "$work/rclone.conf" -q)
    : >"$work/rclone.conf"
    "${rclone[@]}" mkdir "$remote"
    "${rclone[@]}" sync "$files" "$remote/sync"
    "${rclone[@]}" check --download "$files" "$remote/sync"
    "${rclone[@]}" sync "$remote/sync" "$work/rclone-down"
    same "$files" "$work/rclone-down" rclone
    "${rclone[@]}" purge "$remote"
    rm -rf "$work/rclone-down"
}

client_restic() {
    export RESTIC_PASSWORD=restic-test RESTIC_REPOSITORY="s3:$endpoint/restic" RESTIC_CACHE_DIR="$work/restic-cache"
    restic init -q
    restic backup -q "$files"
    printf changed >"$files/one"
    restic backup -q "$files"
    restic check -q --read-data
    restic restore -q latest --target "$work/restic-down"
    same "$files" "$work/restic-down$files" restic
    restic forget -q --keep-last 1 --prune
    restic check -q --read-data
    rm -rf "$work/restic-down"
}

for client in $clients; do
    if [ $client = boto3 ]; then
        python3 -c 'import boto3' 2>/dev/null || { skip boto3 "python3 cannot import it"; continue; }
    elif [ $client = aws ]; then
        command -v aws >/dev/null || { skip aws "not installed"; continue; }
    elif ! have $client; then
        skip $client "not installed, and cannot be installed here"
        continue
    fi
    started=$SECONDS
    client_$client
    echo "ok: $client ($((SECONDS - started)) s)"
    ran+=("$client")
done
echo "${#ran[@]} clients passed: ${ran[*]:-none}; ${#skipped[@]} skipped: ${skipped[*]:-none}"
[ ${#ran[@]} -gt 0 ] || fail "no client ran"
[ $required -eq 0 ] || [ ${#skipped[@]} -eq 0 ] || fail "a required client is missing"
