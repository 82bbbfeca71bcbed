#!/bin/sh
# Glewlwyd for tests: Debian's package on loopback, with a database of its own in
# a folder, set up through its administration API as one does in its pages. It
# ends with the script.
# usage: glewlwyd.sh install
#        glewlwyd.sh run DIR PORT RESOURCE_BASE    (such as http://127.0.0.1:8931)
set -eu

case $1 in
install)
  missing=""
  for p in glewlwyd sqlite3 openssl curl; do
    command -v "$p" >/dev/null || missing="$missing $p"
  done
  [ -z "$missing" ] && exit 0
  echo "apt-get install$missing"
  apt-get update -q
  # The package would ask about a database, and start a daemon of its own.
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
  command -v systemctl >/dev/null && systemctl disable --now glewlwyd 2>/dev/null
  exit 0
  ;;
run) ;;
*)
  sed -n 's/^# usage: //p' "$0"
  exit 2
  ;;
esac

dir=$2 port=$3 base=$4
at=http://127.0.0.1:$port
sqlite3 "$dir/glewlwyd.db" </usr/share/dbconfig-common/data/glewlwyd/install/sqlite3
cat >"$dir/glewlwyd.conf" <<END
port=$port
bind_address="127.0.0.1"
external_url="$at"
api_prefix="api"
login_url="login.html"
log_mode="console"
log_level="WARNING"
cookie_secure=0
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database={ type="sqlite3"; path="$dir/glewlwyd.db"; };
END
glewlwyd --config-file="$dir/glewlwyd.conf" &
daemon=$!
trap 'kill $daemon 2>/dev/null; wait $daemon; exit 0' INT TERM

api() { # method path JSON
  curl -sSf -o /dev/null --max-time 20 -b "$dir/cookies" -c "$dir/cookies" -X "$1" -H 'Content-Type: application/json' -d "$3" "$at/api$2"
}
tries=0
until api POST /auth/ '{"username":"admin","password":"password"}' 2>/dev/null; do
  tries=$((tries + 1))
  [ $tries -lt 120 ] || { echo "Glewlwyd does not answer"; kill $daemon; exit 1; }
  sleep 0.5
done

for scope in files:list files:call mail:call; do
  api POST /scope/ "{\"name\":\"$scope\",\"display_name\":\"$scope\",\"password_required\":true,\"scheme\":{}}"
done
api POST /client/ '{"client_id":"editor","enabled":true,"confidential":false,"scope":[],"authorization_type":["code"],
  "redirect_uri":["http://127.0.0.1:9999/callback"],"token_endpoint_auth_method":["none"]}'
api POST /client/ '{"client_id":"robot","enabled":true,"confidential":true,"password":"robot-secret","client_secret":"robot-secret","redirect_uri":[],
  "scope":["files:list","files:call","mail:call"],"authorization_type":["client_credentials"],"token_endpoint_auth_method":["client_secret_basic"]}'
api POST /user/ '{"username":"kim","enabled":true,"password":"kim-password","scope":["files:list","files:call","mail:call"]}'

openssl ecparam -genkey -name prime256v1 -noout -out "$dir/key.pem"
openssl ec -in "$dir/key.pem" -pubout -out "$dir/public.pem" 2>/dev/null
pem() { awk '{ printf "%s\\n", $0 }' "$1"; }
api POST /mod/plugin/ '{"module":"oidc","name":"oidc","display_name":"OpenID Connect","parameters":{
  "iss":"'"$at"'/api/oidc","jwt-type":"ecdsa","jwt-key-size":"256","key":"'"$(pem "$dir/key.pem")"'","cert":"'"$(pem "$dir/public.pem")"'","jwks-show":true,
  "access-token-duration":300,"refresh-token-duration":600,"code-duration":60,"refresh-token-rolling":true,"subject-type":"public","allow-non-oidc":true,
  "auth-type-code-enabled":true,"auth-type-client-enabled":true,"auth-type-refresh-enabled":false,"auth-type-token-enabled":false,
  "auth-type-id-token-enabled":false,"auth-type-none-enabled":false,"auth-type-password-enabled":false,"auth-type-device-enabled":false,
  "pkce-allowed":true,"pkce-required":true,"pkce-method-plain-allowed":false,
  "introspection-revocation-allowed":true,"introspection-revocation-allow-target-client":true,
  "resource-allowed":true,"resource-scope":{"files:list":["'"$base"'/mcp/files"],"files:call":["'"$base"'/mcp/files"],"mail:call":["'"$base"'/mcp/mail"]}}}'
wait $daemon
