//go:build unix

package catalog

import (
	"context"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

func TestNoiseIsHarmless(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "noise")
	check(t, in)
	eventually(t, "all lines logged", func() bool {
		return strings.Contains(h.log.String(), "the end") && strings.Contains(h.log.String(), "to stdout")
	})
	check(t, in) // the host lives and the plugin is still there
	log := h.log.String()
	for _, want := range []string{
		`level=WARN msg="token [redacted] in use" plugin=faulty fields.nested="{\"token\":[\"[redacted]\"]}" fields.plugin=forged`,
		`level=DEBUG msg="plain [redacted] �[2Jtext" plugin=faulty`,
		"cut_after_bytes=16384",
		`level=INFO msg="the end"`,
		`msg="to stdout [redacted]"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if strings.Contains(log, "S3cret") || strings.Contains(log, "hvs.") {
		t.Error("a piece of the secret is in the log")
	}
	if len(log) > 200<<10 {
		t.Errorf("an endless line left %d bytes", len(log))
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	h := newHost(t, nil)
	ctx := context.Background()
	_, err := h.add("denied", "denied").DescribeKey(ctx)
	wantCode(t, err, provider.Denied)
	if want := `provider "denied" (plugin faulty): DescribeKey: DENIED: token [redacted] is not allowed�[2J`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	_, err = h.add("config", "config").DescribeKey(ctx)
	wantCode(t, err, provider.InvalidConfig)
	if want := `provider "config" (plugin faulty): DescribeKey: INVALID_CONFIG: fault: no instance for token [redacted]`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	results, err := h.add("item", "item-error").Unwrap(ctx, []provider.UnwrapItem{{Wrapped: provider.Wrapped{KEKID: "k", Blob: []byte("junk")}}})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, results[0].Err, provider.Integrity)
	if want := `provider "item" (plugin faulty): Unwrap: INTEGRITY: token [redacted] cannot open it`; results[0].Err.Error() != want {
		t.Errorf("got  %s\nwant %s", results[0].Err, want)
	}
	root := provider.NewSecret([]byte("a root, in thirty-two characters"))
	_, err = h.add("echo", "echo").Wrap(ctx, []provider.WrapItem{{Plaintext: root}})
	wantCode(t, err, provider.LimitExceeded)
	if want := `provider "echo" (plugin faulty): Wrap: LIMIT_EXCEEDED: it takes no [redacted], nor "[redacted]"`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

// TestSecretsStayOutOfAnswers: there are key managers that name who asks by his token.
func TestSecretsStayOutOfAnswers(t *testing.T) {
	h := newHost(t, nil)
	answer, err := h.add("prod", "echo").Check(context.Background(), provider.CheckRequest{})
	if err != nil || answer.Identity != "token [redacted]" || answer.Account != "[redacted]" {
		t.Errorf("got %+v, %v", answer, err)
	}
}
