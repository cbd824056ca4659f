#!/bin/sh
# Installs what the tests drive for real, Chromium, Prometheus and bubblewrap, where that is allowed; elsewhere they say
# what is missing.
set -u
missing=""
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
  command -v google-chrome >/dev/null 2>&1 || missing="chromium"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v bwrap >/dev/null 2>&1 || missing="$missing bubblewrap"
[ -z "$missing" ] && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  # shellcheck disable=SC2086 - one word a package
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "not found: $missing. Install them (Debian: sudo apt-get install $missing) to run every test" >&2
fi
