# shellcheck shell=sh
# What the scripts beside this file share; each one sources it first.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

bold='' red='' green='' dim='' plain=''
# shellcheck disable=SC2034 # each script uses some of them
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	esc=$(printf '\033')
	bold="${esc}[1m" red="${esc}[31m" green="${esc}[32m" dim="${esc}[2m" plain="${esc}[0m"
fi

# help prints the comment at the head of the running script.
help() {
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# die says what is wrong and ends the script.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# misuse is die for a wrong command line.
misuse() {
	printf '%s: %s\nTry: %s --help\n' "${0##*/}" "$*" "$0" >&2
	exit 2
}

# need_go says in time, and in words, that there is no Go.
need_go() {
	command -v go >/dev/null || die "go not found: install Go $(sed -n 's/^go //p' "$root/go.mod") or newer from https://go.dev/dl"
}

# nested_modules lists the folders below the root that are Go modules of their own
# and hold code; scripts/tools/* only pin versions. The Vault server is not among
# them: to vet or lint it means to compile or read all of Vault, again and again.
# vault_server builds it, and the tests of testing/vaulttest run it.
nested_modules() {
	(cd "$root" && find . -name go.mod ! -path ./go.mod ! -path '*/testdata/*' ! -path './testing/vaultserver/*') | while read -r mod; do
		folder=$(dirname "$mod")
		[ -z "$(find "$root/$folder" -name '*.go')" ] || printf '%s\n' "${folder#./}"
	done
}

# fuzz_targets lists every fuzz target of the main module, a line for each: its
# package, its name, the package's folder.
fuzz_targets() {
	(cd "$root" && go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{.}} {{$p.Dir}}
{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{.}} {{$p.Dir}}
{{end}}' ./...) | while read -r package file folder; do
		[ -n "$file" ] || continue
		sed -n "s/^func \\(Fuzz[A-Za-z0-9_]*\\)(.*/\\1/p" "$folder/$file" | while read -r target; do
			printf '%s %s %s\n' "$package" "$target" "$folder"
		done
	done
}

# each_fuzz_target FOLDER FUNCTION calls FUNCTION PACKAGE TARGET FOLDER BINARY for every
# target, having built each package's binary once, in FOLDER.
each_fuzz_target() {
	fuzz_targets >"$1/targets"
	last='' built=0
	while read -r package target folder; do
		if [ "$package" != "$last" ]; then
			built=$((built + 1)) last=$package
			go test -c -fuzz . -o "$1/fuzz.$built.test" "$package"
		fi
		"$2" "$package" "$target" "$folder" "$1/fuzz.$built.test" </dev/null
	done <"$1/targets"
	rm -f "$1"/fuzz.*.test
}

# tools prints the folder that holds the tools which the nested module
# scripts/tools/$1 pins; the other arguments name their packages. They are built
# at first use and again when a version or Go itself changes.
tools() {
	module=$root/scripts/tools/$1
	shift
	key=$(cat "$module/go.mod" "$module/go.sum" | cksum | tr ' ' -)
	folder=${XDG_CACHE_HOME:-$HOME/.cache}/keyrotor/tools/$(go env GOVERSION)-$key
	mkdir -p "$folder"
	for package in "$@"; do
		tool=${package##*/}
		[ -x "$folder/$tool" ] && continue
		printf 'building %s (once; it stays in %s)\n' "$tool" "$folder" >&2
		# Renamed into place, so that a build cut short leaves no half tool.
		(cd "$module" && GOOS='' GOARCH='' GOFLAGS='' CGO_ENABLED=0 go build -buildvcs=false -o "$folder/$tool.$$" "$package") &&
			mv "$folder/$tool.$$" "$folder/$tool" || return 1
	done
	printf '%s\n' "$folder"
}

# vault_server_path prints where the Vault server for the tests is or will be: apart
# for each state of its sources and each version of Go.
vault_server_path() {
	key=$(cd "$root/testing/vaultserver" && find . -type f ! -name '*.md' | LC_ALL=C sort | xargs cat | cksum | tr ' ' -)
	printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/keyrotor/vaultserver/$(go env GOVERSION)-$key/vaultserver"
}

# vault_server builds that server, unless it is there, and prints its path.
vault_server() {
	server=$(vault_server_path)
	if [ ! -x "$server" ]; then
		printf 'building a Vault server for the tests (once, some minutes; it stays in %s)\n' "${server%/*}" >&2
		mkdir -p "${server%/*}"
		# The list of packages is the only sign of life that go build gives. Renamed
		# into place, so that a build cut short leaves no half server.
		(cd "$root/testing/vaultserver" && GOOS='' GOARCH='' GOFLAGS='' CGO_ENABLED=0 \
			go build -v -buildvcs=false -trimpath -ldflags='-s -w' -o "$server.$$" . 2>&1) | compiling >&2
		[ -x "$server.$$" ] || die 'the Vault server for the tests does not build'
		mv "$server.$$" "$server"
	fi
	printf '%s\n' "$server"
}

# compiling makes one line of what go build -v says it downloads and compiles, or on
# no terminal a line for each hundred, and passes on all else.
compiling() {
	downloaded=0 compiled=0
	while read -r line; do
		case $line in
		'go: downloading '*) downloaded=$((downloaded + 1)) ;;
		*' '*) printf '%s\n' "$line" && continue ;;
		*) compiled=$((compiled + 1)) ;;
		esac
		if [ -t 2 ]; then
			printf '\r%d modules downloaded, %d packages compiled' "$downloaded" "$compiled"
		elif [ $(((downloaded + compiled) % 100)) -eq 0 ]; then
			printf '%d modules downloaded, %d packages compiled\n' "$downloaded" "$compiled"
		fi
	done
	[ ! -t 2 ] || printf '\r\033[K'
}
