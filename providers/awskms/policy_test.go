package awskms

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// statement of a policy, as the page has it.
type statement struct {
	Sid       string         `json:"Sid,omitempty"`
	Effect    string         `json:"Effect"`
	Action    []string       `json:"Action"`
	Resource  string         `json:"Resource"`
	Condition map[string]any `json:"Condition,omitempty"`
}

// documented reads the policies of the page, for a key: that of daily use, and what kek
// create needs in addition.
func documented(t testing.TB, arn string) (daily, create []statement) {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Least privilege\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("the section on least privilege has %d policies, not 2", len(blocks))
	}
	read := func(text string) []statement {
		var doc struct{ Statement []statement }
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatalf("the page's policy: %v", err)
		}
		for i := range doc.Statement {
			if strings.Contains(doc.Statement[i].Resource, ":key/1234abcd") {
				doc.Statement[i].Resource = arn
			}
			if strings.Contains(doc.Statement[i].Resource, ":alias/") {
				doc.Statement[i].Resource = "*"
			}
		}
		return doc.Statement
	}
	daily, create = read(blocks[0][1]), read(blocks[1][1])
	if len(daily) != 2 || len(create) != 3 {
		t.Fatalf("the page's policies have %d and %d statements", len(daily), len(create))
	}
	return daily, create
}

func merge(t testing.TB, parts ...[]statement) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": slices.Concat(parts...)})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (l *lab) disable(arn string) {
	l.t.Helper()
	if _, err := l.admin.DisableKey(context.Background(), &kms.DisableKeyInput{KeyId: &arn}); err != nil {
		l.t.Fatal(err)
	}
}

// operations are what a user does.
func operations(version string, w provider.Wrapped) map[string]func(context.Context, *manager) error {
	return map[string]func(context.Context, *manager) error{
		"describe": func(ctx context.Context, m *manager) error {
			_, err := m.DescribeKey(ctx)
			return err
		},
		"generate": func(ctx context.Context, m *manager) error {
			_, err := m.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
			return err
		},
		"wrap": func(ctx context.Context, m *manager) error {
			out, err := m.Wrap(ctx, []provider.WrapItem{{Plaintext: root()}})
			if err == nil {
				err = out[0].Err
			}
			return err
		},
		"unwrap": func(ctx context.Context, m *manager) error {
			_, err := unwrapOne(ctx, m, w, "")
			return err
		},
		"rewrap": func(ctx context.Context, m *manager) error {
			out, err := m.Rewrap(ctx, []provider.UnwrapItem{{Wrapped: w}})
			if err == nil {
				err = out[0].Err
			}
			return err
		},
		"rotate": func(ctx context.Context, m *manager) error {
			_, err := m.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: version})
			return err
		},
		"check": func(ctx context.Context, m *manager) error {
			_, err := m.Check(ctx, provider.CheckRequest{})
			return err
		},
		"check deep": func(ctx context.Context, m *manager) error {
			_, err := m.Check(ctx, provider.CheckRequest{Deep: true})
			return err
		},
	}
}

// TestEachActionOfThePolicyIsNeeded: without one action, what it stands for is denied, and
// nothing else.
func TestEachActionOfThePolicyIsNeeded(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	daily, _ := documented(t, arn)
	needs := map[string][]string{
		"kms:DescribeKey":          {"describe", "rotate", "check", "check deep"},
		"kms:GenerateDataKey":      {"generate"},
		"kms:Encrypt":              {"wrap", "check deep"},
		"kms:Decrypt":              {"unwrap", "check deep"},
		"kms:ReEncryptFrom":        {"rewrap"},
		"kms:ReEncryptTo":          {"rewrap"},
		"kms:RotateKeyOnDemand":    {"rotate"},
		"kms:GetKeyRotationStatus": {"rotate"},
		"kms:ListKeyRotations":     {}, // versions other than the current one are not listed
	}
	admin := l.open(arn, nil)
	w := wrapOne(t, admin, "")
	for without, denied := range needs {
		rules := make([]statement, len(daily))
		found := false
		for i, st := range daily {
			st.Action = slices.DeleteFunc(slices.Clone(st.Action), func(a string) bool {
				found = found || a == without
				return a == without
			})
			rules[i] = st
		}
		if !found {
			t.Errorf("the page's policy lacks %s", without)
		}
		m := l.open(arn, as(l.userWith(merge(t, rules))))
		for name, do := range operations(primary(t, admin), w) {
			err := do(t.Context(), m)
			if want := slices.Contains(denied, name); want != errors.Is(err, provider.Denied) || !want && err != nil {
				t.Errorf("without %s, %s answers %v", without, name, err)
			}
			if err != nil && !strings.Contains(err.Error(), without) {
				t.Errorf("without %s, %s does not name it: %v", without, name, err)
			}
		}
	}
	for _, st := range daily {
		for _, action := range st.Action {
			if _, ok := needs[action]; !ok {
				t.Errorf("the page's policy has %s, of which nobody knows what it is for", action)
			}
		}
	}
}

// TestForeignWrapsAreDenied: with the page's condition, the identity opens Keyrotor's wraps
// under the key, and nobody else's.
func TestForeignWrapsAreDenied(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	daily, _ := documented(t, arn)
	user := l.userWith(merge(t, daily))
	other, err := l.admin.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &arn, Plaintext: []byte("of another program")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.client(user, awskmsfake.Region).Decrypt(t.Context(), &kms.DecryptInput{KeyId: &arn, CiphertextBlob: other.CiphertextBlob})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("another program's ciphertext: %v", err)
	}
	m := l.open(arn, as(user))
	if _, err := unwrapOne(t.Context(), m, wrapOne(t, m, "aad"), "aad"); err != nil {
		t.Error(err)
	}
}
