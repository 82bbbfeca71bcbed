#!/bin/sh
# Keycloak for tests: installs it below a folder, and runs it on loopback, in
# memory, with the realm that stands in keycloak-realm.json. It ends with the
# script.
# usage: keycloak.sh install DIR
#        keycloak.sh run DIR PORT RESOURCE_BASE    (such as http://127.0.0.1:8931)
set -eu
version=26.7.3
sha256=77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47
from=https://repo1.maven.org/maven2/org/keycloak/keycloak-quarkus-dist/$version/keycloak-quarkus-dist-$version.tar.gz
here=$(cd "$(dirname "$0")" && pwd)
what=$1
mkdir -p "$2"
kc=$(cd "$2" && pwd)/keycloak-$version

need() { # program package
  command -v "$1" >/dev/null || { echo "no $1: apt-get install $2"; apt-get update -q && apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$2"; }
}

case $what in
install)
  [ -e "$kc/installed" ] && exit 0
  need curl curl
  need java openjdk-17-jre-headless
  java -version 2>&1 | grep -Eq 'version "(1[7-9]|[2-9][0-9])' || { echo "Keycloak needs Java 17 or later, and java -version says another"; exit 1; }
  rm -rf "$kc" "$kc.tar.gz"
  echo "fetching Keycloak $version"
  curl -sSf --retry 3 --connect-timeout 20 --max-time 300 -o "$kc.tar.gz" "$from"
  echo "$sha256  $kc.tar.gz" | sha256sum -c - >/dev/null || { echo "the archive is not the one that was expected"; exit 1; }
  tar -xzf "$kc.tar.gz" -C "$(dirname "$kc")"
  rm "$kc.tar.gz"
  # The server is put together once, so that each start is short.
  echo "building Keycloak $version"
  JAVA_OPTS_KC_HEAP="-Xms64m -Xmx640m" "$kc/bin/kc.sh" build --db=dev-mem --cache=local >"$kc/build.log" 2>&1 || { cat "$kc/build.log"; exit 1; }
  touch "$kc/installed"
  ;;
run)
  mkdir -p "$kc/data/import"
  sed "s#https://mcp.example.com#$4#g" "$here/keycloak-realm.json" >"$kc/data/import/corp-realm.json"
  export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin JAVA_OPTS_KC_HEAP="-Xms64m -Xmx640m"
  exec "$kc/bin/kc.sh" start --optimized --import-realm --http-enabled=true --http-host=127.0.0.1 --http-port="$3" --hostname="http://127.0.0.1:$3"
  ;;
*)
  sed -n 's/^# usage: //p' "$0"
  exit 2
  ;;
esac
