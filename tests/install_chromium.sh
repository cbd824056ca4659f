#!/bin/sh
# Installs Chromium for the browser tests where that is allowed; elsewhere the tests say what is missing.
for browser in chromium chromium-browser google-chrome; do
  command -v "$browser" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
  echo "no Chromium found: install it (Debian: sudo apt-get install chromium) to run the browser tests" >&2
fi
