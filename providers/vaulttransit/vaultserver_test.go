//go:build vault

package vaulttransit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/conformance"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/faultproxy"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// shared is the server of all tests that do not break theirs.
var shared *vaulttest.Server

func TestMain(m *testing.M) {
	server, err := vaulttest.Share()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = server
	code := m.Run()
	server.Close()
	os.Exit(code)
}

// rule of a policy, as the page has it.
type policyRule struct{ path, text string }

// documented reads the policies of the page, for any key at a mount: those of daily use,
// and the one that kek create needs in addition.
func documented(t testing.TB, mount, key string) (daily []policyRule, create policyRule) {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Least privilege\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("the section on least privilege has %d policies, not 2", len(blocks))
	}
	rules := func(text string) (out []policyRule) {
		text = strings.ReplaceAll(strings.ReplaceAll(text, `"transit/`, `"`+mount+`/`), "payments-kek", key)
		for _, m := range regexp.MustCompile(`(?s)path "([^"]+)" \{.*?\n\}`).FindAllStringSubmatch(text, -1) {
			out = append(out, policyRule{path: m[1], text: m[0]})
		}
		return out
	}
	daily = rules(blocks[0][1])
	extra := rules(blocks[1][1])
	if len(daily) != 6 || len(extra) != 1 || extra[0].path != daily[0].path {
		t.Fatalf("the page has the policies %v and %v", daily, extra)
	}
	return daily, extra[0]
}

func policyText(rules []policyRule) string {
	var out strings.Builder
	for _, r := range rules {
		out.WriteString(r.text + "\n")
	}
	return out.String()
}

// role is a login by AppRole with the documented policies.
func role(t testing.TB, mount, key string, mayCreate bool, g vaulttest.Grant) provider.Block {
	t.Helper()
	daily, create := documented(t, mount, key)
	if mayCreate {
		daily[0] = create
	}
	g.Policy = shared.Policy(t, policyText(daily))
	return appRoleBlock(shared.AppRole(t, g))
}

func appRoleBlock(a vaulttest.AppRole) provider.Block {
	return login("approle", map[string]any{
		"role_id": a.RoleID, "secret_id": provider.NewSecret([]byte(a.SecretID)), "mount": a.Mount,
	})
}

func tokenBlock(token string) provider.Block {
	return login("token", map[string]any{"token": provider.NewSecret([]byte(token))})
}

var keysMade int

// newName answers a key that no other test has.
func newName() string {
	keysMade++
	return fmt.Sprintf("kek-%d", keysMade)
}

func at(address, mount, key string, auth provider.Block) provider.Body {
	return block(map[string]any{"address": address, "mount": mount, "key": key}, auth)
}

func TestConformance(t *testing.T) {
	mount := shared.MountTransit(t)
	auth := role(t, mount, "+", true, vaulttest.Grant{})
	// The suite tries wrong secret ids more often than Vault puts up with.
	write(t, "sys/mounts/auth/"+auth.Body.String("mount")+"/tune", map[string]any{"user_lockout_config": map[string]any{"lockout_disable": true}})
	nobody := tokenBlock(shared.Token(t, vaulttest.Grant{Policy: shared.Policy(t, `path "nothing" { capabilities = ["read"] }`)}))
	nowhere := tokenBlock(shared.Token(t, vaulttest.Grant{Policy: shared.Policy(t, `path "nowhere/*" { capabilities = ["read", "update"] }`)}))
	busy := faultproxy.New(t, shared.Addr)
	busy.Every("*", faultplan.Throttled(0))
	failing := faultproxy.New(t, shared.Addr)
	failing.Every("*", faultplan.Failed(502))
	wrong := appRoleBlock(vaulttest.AppRole{Mount: auth.Body.String("mount"), RoleID: auth.Body.String("role_id"), SecretID: "0b0e6ab0-wrong"})
	fails := func(body provider.Body) func(testing.TB) provider.Body {
		return func(testing.TB) provider.Body { return body }
	}
	conformance.Run(t, conformance.Harness{
		Info: Info("test"), Schema: Schema(), New: New,
		Package: "../../plugins/vault-transit",
		KEK:     func(testing.TB) provider.Body { return at(shared.Addr, mount, newName(), auth) },
		Fails: map[provider.Code]func(testing.TB) provider.Body{
			provider.Unauthenticated: fails(at(shared.Addr, mount, "kek", wrong)),
			provider.Denied:          fails(at(shared.Addr, mount, "kek", nobody)),
			provider.InvalidConfig:   fails(at(shared.Addr, "nowhere", "kek", nowhere)),
			provider.Throttled:       fails(at(busy.URL, mount, "kek", auth)),
			provider.Unavailable:     fails(at(failing.URL, mount, "kek", auth)),
		},
	})
}

// operations are what a user does, each on an instance of its own.
func operations(primary string, w provider.Wrapped) map[string]func(context.Context, *manager) error {
	item := func(results any, err error) error {
		if err != nil {
			return err
		}
		switch r := results.(type) {
		case []provider.WrapResult:
			return r[0].Err
		case []provider.UnwrapResult:
			return r[0].Err
		default:
			return fmt.Errorf("results of type %T", r)
		}
	}
	return map[string]func(context.Context, *manager) error{
		"describe": describe,
		"generate": func(ctx context.Context, m *manager) error {
			_, err := m.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
			return err
		},
		"wrap": func(ctx context.Context, m *manager) error {
			return item(m.Wrap(ctx, []provider.WrapItem{{Plaintext: root()}}))
		},
		"unwrap": func(ctx context.Context, m *manager) error {
			return item(m.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: w}}))
		},
		"rewrap": func(ctx context.Context, m *manager) error {
			return item(m.Rewrap(ctx, []provider.UnwrapItem{{Wrapped: w}}))
		},
		"rotate": func(ctx context.Context, m *manager) error {
			_, err := m.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: primary})
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

// TestEachLineOfThePolicyIsNeeded: without one line, what it stands for is denied, and
// nothing else.
func TestEachLineOfThePolicyIsNeeded(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	daily, create := documented(t, mount, key)
	admin := open(t, nil, at(shared.Addr, mount, key, tokenBlock(shared.RootToken)))
	wrapped, err := admin.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	if err != nil {
		t.Fatal(err)
	}
	everything := []string{"describe", "generate", "wrap", "unwrap", "rewrap", "rotate", "check deep"}
	needs := map[string][]string{
		mount + "/keys/" + key:              everything,
		mount + "/datakey/plaintext/" + key: {"generate"},
		mount + "/encrypt/" + key:           {"wrap", "check deep"},
		mount + "/decrypt/" + key:           {"unwrap", "check deep"},
		mount + "/rewrap/" + key:            {"rewrap"},
		mount + "/keys/" + key + "/rotate":  {"rotate"},
	}
	for i := -1; i < len(daily); i++ {
		rules, without := slices.Clone(daily), "nothing"
		var denied []string
		if i >= 0 {
			without = daily[i].path
			rules = slices.Delete(rules, i, i+1)
			var ok bool
			if denied, ok = needs[without]; !ok {
				t.Errorf("the page has a line for %s, of which nobody knows what it is for", without)
			}
		}
		auth := tokenBlock(shared.Token(t, vaulttest.Grant{Policy: shared.Policy(t, policyText(rules))}))
		d, err := admin.DescribeKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, do := range operations(d.PrimaryVersion, wrapped[0].Wrapped) {
			err := do(t.Context(), open(t, nil, at(shared.Addr, mount, key, auth)))
			if want := slices.Contains(denied, name); want != errors.Is(err, provider.Denied) || !want && err != nil {
				t.Errorf("without %s, %s answers %v", without, name, err)
			}
			if err != nil && !strings.Contains(err.Error(), without) {
				t.Errorf("without %s, %s does not name it: %v", without, name, err)
			}
		}
	}

	// kek create needs its own line, and no more than it.
	for what, c := range map[string]struct {
		rules []policyRule
		code  provider.Code
	}{
		"the line of kek create": {[]policyRule{create}, ""},
		"those of daily use":     {daily, provider.Denied},
	} {
		name := newName()
		rules := slices.Clone(c.rules)
		for i := range rules {
			rules[i].text = strings.ReplaceAll(rules[i].text, "/"+key, "/"+name)
		}
		auth := tokenBlock(shared.Token(t, vaulttest.Grant{Policy: shared.Policy(t, policyText(rules))}))
		_, err := open(t, nil, at(shared.Addr, mount, name, auth)).CreateKey(t.Context(), provider.CreateKeyRequest{})
		if provider.CodeOf(err) != c.code {
			t.Errorf("with %s, kek create answers %v", what, err)
		}
	}
}

// TestRequests holds the page's table of costs against what the server noted.
func TestRequests(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	auth := role(t, mount, "+", true, vaulttest.Grant{})
	in, end := "update auth/"+auth.Body.String("mount")+"/login", "update auth/token/revoke-self"
	read, look := "read "+mount+"/keys/"+key, "read auth/token/lookup-self"
	m := open(t, nil, at(shared.Addr, mount, key, auth))
	wrapped, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	if err != nil {
		t.Fatal(err)
	}
	ops := operations("1", wrapped[0].Wrapped)
	counted := func(what string, do func() error, want map[string]int) {
		t.Helper()
		audit := shared.Audit(t)
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		got := audit.Counts(t)
		maps.DeleteFunc(got, func(call string, _ int) bool { return strings.Contains(call, "sys/internal") })
		if !maps.Equal(got, want) {
			t.Errorf("%s makes the requests %v, want %v", what, got, want)
		}
	}
	for name, want := range map[string]map[string]int{
		"check":      {look: 1},
		"check deep": {look: 1, "update " + mount + "/encrypt/" + key: 1, "update " + mount + "/decrypt/" + key: 1},
		"describe":   {read: 1},
		"generate":   {"update " + mount + "/datakey/plaintext/" + key: 1},
		"wrap":       {"update " + mount + "/encrypt/" + key: 1},
		"unwrap":     {"update " + mount + "/decrypt/" + key: 1},
		"rewrap":     {"update " + mount + "/rewrap/" + key: 1},
	} {
		counted(name, func() error { return ops[name](t.Context(), m) }, want)
	}
	counted("rotate", func() error { return ops["rotate"](t.Context(), m) }, map[string]int{read: 1, "update " + mount + "/keys/" + key + "/rotate": 1})
	counted("256 items", func() error {
		items := make([]provider.WrapItem, 256)
		for i := range items {
			items[i].Plaintext = root()
		}
		_, err := m.Wrap(t.Context(), items)
		return err
	}, map[string]int{"update " + mount + "/encrypt/" + key: 1})
	counted("the end", m.Close, map[string]int{end: 1})

	first := open(t, nil, at(shared.Addr, mount, key, auth))
	counted("the first unwrap", func() error { return ops["unwrap"](t.Context(), first) },
		map[string]int{in: 1, read: 1, "update " + mount + "/decrypt/" + key: 1})
	given := open(t, nil, at(shared.Addr, mount, key, tokenBlock(shared.Token(t, vaulttest.Grant{Policy: "root"}))))
	counted("the first description with a token", func() error { return describe(t.Context(), given) }, map[string]int{look: 1, read: 1})
	counted("the end with a token", given.Close, map[string]int{})

	name := newName()
	maker := open(t, nil, at(shared.Addr, mount, name, auth))
	counted("create", func() error {
		_, err := maker.CreateKey(t.Context(), provider.CreateKeyRequest{})
		return err
	}, map[string]int{in: 1, "read " + mount + "/keys/" + name: 2, "update " + mount + "/keys/" + name: 1})
}
