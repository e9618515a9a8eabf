package localkms

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nsmithuk/local-kms/src"
	"github.com/nsmithuk/local-kms/src/config"
	"github.com/nsmithuk/local-kms/src/data"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/awskms"
	"github.com/keyrotor/keyrotor/testing/conformance"
)

// inside is set in the process that runs the suite, whose failures are the answer.
const inside = "KEYROTOR_LOCALKMS_SUITE"

// differences are the cases that local-kms does not pass, on every way, and why. A case
// that fails and is not here is a finding; so is one that is here and passes.
func differences() map[string]string {
	const noMaterial = "local-kms names no key material, so that keys have no versions"
	const noRotation = noMaterial + ", and it has no RotateKeyOnDemand"
	return map[string]string{
		"capability/kept":            noRotation,
		"concurrent/calls":           noRotation,
		"context/canceled-midway":    noRotation,
		"context/over":               noRotation,
		"crash/at-work":              noRotation,
		"crash/idle":                 noRotation,
		"crash/rotate-key":           noRotation,
		"create/answers":             noMaterial,
		"describe/complete":          noMaterial,
		"rewrap/newest-version":      noRotation,
		"rotate/keeps-old-wraps":     noRotation,
		"rotate/moves-primary":       noRotation,
		"rotate/racing":              noRotation,
		"rotate/same-request":        noRotation,
		"rotate/stale-version":       noRotation,
		"rotate/wraps-under-primary": noRotation,
		"unwrap/altered":             "a part of the key's ARN at the head of its ciphertexts is not authenticated",
	}
}

// start serves local-kms on the loopback interface. Its own Run listens on all.
func start(t testing.TB) string {
	t.Helper()
	config.AWSRegion, config.AWSAccountId = "eu-west-1", "111122223333"
	db := data.NewDatabase(t.TempDir())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { src.HandleRequest(w, r, db) }))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		db.Close()
	})
	return server.URL
}

// TestSuite is the conformance suite, as it is; it runs in a process of its own.
func TestSuite(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("TestSecondOpinion runs it")
	}
	url := start(t)
	n := 0
	conformance.Run(t, conformance.Harness{
		Info: awskms.Info("test"), Schema: awskms.Schema(), New: awskms.New,
		Package: "github.com/keyrotor/keyrotor/plugins/aws-kms",
		KEK: func(testing.TB) provider.Body {
			n++
			return provider.Body{Attributes: map[string]any{
				"key_id": fmt.Sprintf("alias/kek-%d", n), "region": "eu-west-1", "endpoint": url, "sts_endpoint": "http://127.0.0.1:1",
				"access_key_id": "AKIALOCAL", "secret_access_key": provider.NewSecret([]byte("local-kms checks no signature")),
			}}
		},
	})
}

var outcome = regexp.MustCompile(`(?m)^\s+--- (PASS|FAIL): TestSuite/(direct|memory|process|killed)/(\S+)`)

// TestSecondOpinion compares what fails with what is known to differ.
func TestSecondOpinion(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSuite$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.Discard // its log says every request
	err := cmd.Run()
	failed, passed := map[string][]string{}, 0
	for _, m := range outcome.FindAllStringSubmatch(out.String(), -1) {
		if m[1] == "FAIL" {
			failed[m[3]] = append(failed[m[3]], m[2])
		} else {
			passed++
		}
	}
	if passed == 0 {
		t.Fatalf("no case passed: %v\n%s", err, out.String())
	}
	known := differences()
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if known[name] == "" {
			t.Errorf("%s fails (%s), which is not known to differ:\n%s", name, strings.Join(failed[name], ", "), messages(out.String(), name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if failed[name] == nil {
			t.Errorf("%s passes, and is said to differ: %s", name, known[name])
		}
	}
	t.Logf("%d pass, %d cases differ as they are known to", passed, len(failed))
}

// messages are the lines of output that begin with a case's name.
func messages(out, name string) string {
	var lines []string
	for line := range strings.SplitSeq(out, "\n") {
		if strings.Contains(line, ": "+name+": ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}
