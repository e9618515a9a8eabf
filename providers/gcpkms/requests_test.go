package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

// TestRequests holds the page's table of costs against what the fake noted.
func TestRequests(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := open(t, at(s, newName()))
	counted := func(what string, do func() error, want map[string]int) {
		t.Helper()
		s.Forget()
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		wantCalls(t, what, s, want)
	}
	set := func(version string, state provider.KeyState) func() error {
		return func() error {
			return m.SetVersionState(t.Context(), provider.SetVersionStateRequest{Version: version, State: state})
		}
	}
	counted("create", func() error { return create(t, m) }, map[string]int{"GetCryptoKey": 1, "CreateCryptoKey": 1})
	w := mustWrap(t, m, "")
	counted("check", func() error {
		_, err := m.Check(t.Context(), provider.CheckRequest{})
		return err
	}, map[string]int{"GetCryptoKey": 1})
	counted("check deep", func() error {
		_, err := m.Check(t.Context(), provider.CheckRequest{Deep: true})
		return err
	}, map[string]int{"GetCryptoKey": 1, "Encrypt": 1, "Decrypt": 1})
	counted("describe", func() error {
		_, err := m.DescribeKey(t.Context())
		return err
	}, map[string]int{"GetCryptoKey": 1, "ListCryptoKeyVersions": 1})
	counted("generate", func() error {
		_, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
		return err
	}, map[string]int{"Encrypt": 1})
	counted("wrap", func() error {
		_, err := wrap(t.Context(), m, "")
		return err
	}, map[string]int{"Encrypt": 1})
	counted("unwrap", func() error { return unwrap(t.Context(), m, w, "") }, map[string]int{"Decrypt": 1})
	counted("rewrap 20", func() error {
		_, err := m.Rewrap(t.Context(), slices.Repeat([]provider.UnwrapItem{{Wrapped: w}}, 20))
		return err
	}, map[string]int{"GetCryptoKey": 1, "Decrypt": 20, "Encrypt": 20})
	rotation := map[string]int{
		"GetCryptoKey": 2, "ListCryptoKeyVersions": 1, "CreateCryptoKeyVersion": 1, "UpdateCryptoKeyPrimaryVersion": 1,
	}
	rotating := func(expected string) func() error {
		return func() error {
			_, err := rotate(t.Context(), m, expected)
			return err
		}
	}
	counted("rotate", rotating("1"), rotation)
	s.Next(1, "*/CreateCryptoKeyVersion", faultplan.Lost())
	rotation["ListCryptoKeyVersions"] = 2
	counted("rotate, and the new version's answer is lost", rotating("2"), rotation)
	s.Next(1, "*/UpdateCryptoKeyPrimaryVersion", faultplan.Lost())
	rotation["ListCryptoKeyVersions"] = 1
	counted("rotate, and the new primary's answer is lost", rotating("3"), rotation)
	counted("disable", set("1", provider.KeyDisabled), map[string]int{"GetCryptoKeyVersion": 1, "GetCryptoKey": 1, "UpdateCryptoKeyVersion": 1})
	counted("disable again", set("1", provider.KeyDisabled), map[string]int{"GetCryptoKeyVersion": 1})
	counted("enable", set("1", provider.KeyEnabled), map[string]int{"GetCryptoKeyVersion": 1, "UpdateCryptoKeyVersion": 1})
	counted("destroy", set("1", provider.KeyDestroyed), map[string]int{"GetCryptoKeyVersion": 1, "GetCryptoKey": 1, "DestroyCryptoKeyVersion": 1})
	counted("bring back", set("1", provider.KeyEnabled), map[string]int{"GetCryptoKeyVersion": 1, "RestoreCryptoKeyVersion": 1, "UpdateCryptoKeyVersion": 1})
	counted("end", m.Close, map[string]int{})
}

// TestPages: a key of many versions is listed to its end.
func TestPages(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	client := admin(t, s)
	for range pageSize {
		if _, err := client.CreateCryptoKeyVersion(t.Context(), &kmspb.CreateCryptoKeyVersionRequest{
			Parent: m.key.String(), CryptoKeyVersion: &kmspb.CryptoKeyVersion{},
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.Forget()
	if d := describe(t, m); len(d.Versions) != pageSize+1 || d.Versions[pageSize].Version != fmt.Sprint(pageSize+1) {
		t.Errorf("%d versions are listed", len(d.Versions))
	}
	wantCalls(t, "describe", s, map[string]int{"GetCryptoKey": 1, "ListCryptoKeyVersions": 2})
}

// documented reads the roles of the page: those of daily use, and what kek create needs.
func documented(t *testing.T) (daily, create []string) {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Least privilege\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("the section on least privilege has %d roles, not 2", len(blocks))
	}
	permission := regexp.MustCompile(`(?m)^- (cloudkms\.\S+)`)
	for i, block := range blocks {
		for _, p := range permission.FindAllStringSubmatch(block[1], -1) {
			if i == 0 {
				daily = append(daily, p[1])
			} else {
				create = append(create, p[1])
			}
		}
	}
	return daily, create
}

// TestEachPermissionIsNeeded: with the page's role everything works; without one line of
// it, what it stands for is denied by name, and nothing else.
func TestEachPermissionIsNeeded(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	daily, more := documented(t)
	needs := map[string][]string{
		"cloudkms.cryptoKeys.get":                 {"describe", "rewrap", "rotate", "check", "check deep"},
		"cloudkms.cryptoKeyVersions.list":         {"describe", "rotate"},
		"cloudkms.cryptoKeyVersions.useToEncrypt": {"generate", "wrap", "rewrap", "check deep"},
		"cloudkms.cryptoKeyVersions.useToDecrypt": {"unwrap", "rewrap", "check deep"},
		"cloudkms.cryptoKeyVersions.create":       {"rotate"},
		"cloudkms.cryptoKeyVersions.get":          {"generated"},
		"cloudkms.cryptoKeys.update":              {"rotate"},
	}
	operations := func(w provider.Wrapped) map[string]func(context.Context, *manager) error {
		return map[string]func(context.Context, *manager) error{
			"describe": func(ctx context.Context, m *manager) error { _, err := m.DescribeKey(ctx); return err },
			"generate": func(ctx context.Context, m *manager) error {
				_, err := m.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
				return err
			},
			"wrap":      func(ctx context.Context, m *manager) error { _, err := wrap(ctx, m, ""); return err },
			"unwrap":    func(ctx context.Context, m *manager) error { return unwrap(ctx, m, w, "") },
			"rewrap":    func(ctx context.Context, m *manager) error { _, err := rewrap(ctx, m, w, ""); return err },
			"rotate":    func(ctx context.Context, m *manager) error { _, err := rotate(ctx, m, "1"); return err },
			"generated": func(ctx context.Context, m *manager) error { _, err := m.readVersion(ctx, "1"); return err },
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
	for i := -1; i < len(daily); i++ {
		granted, without := slices.Clone(daily), "nothing"
		var denied []string
		if i >= 0 {
			without = daily[i]
			granted = slices.Delete(granted, i, i+1)
			var ok bool
			if denied, ok = needs[without]; !ok {
				t.Errorf("the page lists %s, of which nobody knows what it is for", without)
			}
		}
		for name := range operations(provider.Wrapped{}) {
			s.Grant(append(slices.Clone(daily), more...)...)
			m := newKEK(t, s)
			w := mustWrap(t, m, "")
			s.Grant(granted...)
			err := operations(w)[name](t.Context(), m)
			if want := slices.Contains(denied, name); want != errors.Is(err, provider.Denied) || !want && err != nil {
				t.Errorf("without %s, %s answers %v", without, name, err)
			}
			if err != nil && !strings.Contains(err.Error(), "lacks "+without) {
				t.Errorf("without %s, %s does not name it: %v", without, name, err)
			}
		}
	}
	if len(needs) != len(daily) {
		t.Errorf("the page lists %d permissions, and %d are known", len(daily), len(needs))
	}
	s.Grant(daily...)
	wantError(t, "kek create with the daily role", create(t, open(t, at(s, newName()))), provider.Denied, "", "cloudkms.cryptoKeys.create")
}
