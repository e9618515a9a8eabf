package gcpkms

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

// versionsOf counts what there is, as the fake knows it.
func versionsOf(t *testing.T, s *gcpkmsfake.Server, m *manager) int {
	t.Helper()
	list, err := admin(t, s).ListCryptoKeyVersions(t.Context(), &kmspb.ListCryptoKeyVersionsRequest{Parent: m.key.String()})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.GetCryptoKeyVersions())
}

// TestRotationLost: whichever call of a rotation breaks, before or after it took effect,
// there is one version more in the end and no other: at once, or when it is run again.
func TestRotationLost(t *testing.T) {
	for _, call := range []string{"CreateCryptoKeyVersion", "UpdateCryptoKeyPrimaryVersion"} {
		for when, fault := range map[string]faultplan.Fault{
			"before": faultplan.Cut(), "after": faultplan.Lost(), "failing": faultplan.Failed(503), "late": faultplan.Failed(504),
		} {
			t.Run(call+" "+when, func(t *testing.T) {
				s := fake(t, gcpkmsfake.Options{})
				m := newKEK(t, s)
				s.Next(1, "*/"+call, fault)
				res, err := rotate(t.Context(), m, "1")
				switch {
				case s.Pending() != 0:
					t.Fatal("the call was not made")
				case when == "after":
					if err != nil || res != (provider.RotateKeyResponse{OldVersion: "1", NewVersion: "2"}) {
						t.Fatalf("it answers %+v, %v", res, err)
					}
				default:
					wantError(t, "RotateKey", err, provider.Unavailable, "")
					if d := describe(t, m); d.PrimaryVersion != "1" {
						t.Fatalf("the primary is %s", d.PrimaryVersion)
					}
					if res, err = rotate(t.Context(), m, "1"); err != nil || res.NewVersion != "2" {
						t.Fatalf("run again it answers %+v, %v", res, err)
					}
				}
				if n := versionsOf(t, s, m); n != 2 {
					t.Errorf("there are %d versions", n)
				}
				if d := describe(t, m); d.PrimaryVersion != "2" {
					t.Errorf("the primary is %s", d.PrimaryVersion)
				}
			})
		}
	}
}

// TestRotationCutOff: the process was killed between the two calls, and another one goes on.
func TestRotationCutOff(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	w := mustWrap(t, m, "aad")
	s.Every("*/UpdateCryptoKeyPrimaryVersion", faultplan.Cut())
	if _, err := rotate(t.Context(), m, "1"); !errors.Is(err, provider.Unavailable) {
		t.Fatal(err)
	}
	s.Clear()
	next := open(t, at(s, m.key.String()))
	res, err := rotate(t.Context(), next, "1")
	if err != nil || res.NewVersion != "2" || versionsOf(t, s, m) != 2 {
		t.Errorf("another process answers %+v, %v", res, err)
	}
	if err := unwrap(t.Context(), next, w, "aad"); err != nil {
		t.Error(err)
	}
}

// TestSettlingFails: if what came of a call cannot be looked at either, the error is that
// of the call, and running it again makes no other version.
func TestSettlingFails(t *testing.T) {
	for call, look := range map[string]string{
		"CreateCryptoKeyVersion": "ListCryptoKeyVersions", "UpdateCryptoKeyPrimaryVersion": "GetCryptoKey",
	} {
		s := fake(t, gcpkmsfake.Options{})
		m := newKEK(t, s)
		s.Next(1, "*/"+call, faultplan.Lost())
		s.Next(1, "*/"+look, faultplan.Late(0)) // the look before the call
		s.Next(1, "*/"+look, faultplan.Cut())
		_, err := rotate(t.Context(), m, "1")
		wantError(t, call, err, provider.Unavailable, "", call)
		if s.Pending() != 0 {
			t.Fatalf("%s: %d faults were not used", call, s.Pending())
		}
		_, err = rotate(t.Context(), m, "1")
		if call == "UpdateCryptoKeyPrimaryVersion" {
			wantError(t, call, err, provider.VersionChanged, "")
		} else if err != nil {
			t.Error(call, err)
		}
		if n := versionsOf(t, s, m); n != 2 || describe(t, m).PrimaryVersion != "2" {
			t.Errorf("%s: there are %d versions, the primary is %s", call, n, describe(t, m).PrimaryVersion)
		}
	}
}

// TestLeftBehind: what counts as a rotation that was not finished, and what does not.
func TestLeftBehind(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	k := &keyInfo{primary: "2", algorithm: kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION, level: kmspb.ProtectionLevel_SOFTWARE}
	like := func(id string, change func(*version)) version {
		v := version{id: id, state: kmspb.CryptoKeyVersion_ENABLED, made: now.Add(-time.Hour), algorithm: k.algorithm, level: k.level}
		if change != nil {
			change(&v)
		}
		return v
	}
	for name, c := range map[string]struct {
		versions []version
		want     string
	}{
		"none":               {[]version{like("1", nil), like("2", nil)}, ""},
		"one":                {[]version{like("2", nil), like("3", nil)}, "3"},
		"the newest of two":  {[]version{like("2", nil), like("4", nil), like("3", nil)}, "4"},
		"ten is after nine":  {[]version{like("10", nil), like("9", nil)}, "10"},
		"being generated":    {[]version{like("3", func(v *version) { v.state = kmspb.CryptoKeyVersion_PENDING_GENERATION })}, "3"},
		"disabled":           {[]version{like("3", func(v *version) { v.state = kmspb.CryptoKeyVersion_DISABLED })}, ""},
		"of a day ago":       {[]version{like("3", func(v *version) { v.made = now.Add(-freshness) })}, ""},
		"imported":           {[]version{like("3", func(v *version) { v.imported = true })}, ""},
		"of another level":   {[]version{like("3", func(v *version) { v.level = kmspb.ProtectionLevel_HSM })}, ""},
		"of another purpose": {[]version{like("3", func(v *version) { v.algorithm = kmspb.CryptoKeyVersion_HMAC_SHA256 })}, ""},
	} {
		m := &manager{now: func() time.Time { return now }}
		if got, ok := m.leftBehind(k, c.versions); got.id != c.want || ok != (c.want != "") {
			t.Errorf("%s: got %q, want %q", name, got.id, c.want)
		}
	}
}

// TestRotationRaces: two processes that saw the same primary end with one of their versions.
func TestRotationRaces(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	other := open(t, at(s, m.key.String()))
	answers := make(chan error, 2)
	for _, who := range []*manager{m, other} {
		go func() {
			_, err := rotate(context.WithoutCancel(t.Context()), who, "1")
			answers <- err
		}()
	}
	for range 2 {
		if err := <-answers; err != nil && !errors.Is(err, provider.VersionChanged) {
			t.Error(err)
		}
	}
	if n, d := versionsOf(t, s, m), describe(t, m); n > 3 || d.PrimaryVersion == "1" {
		t.Errorf("there are %d versions, the primary is %s", n, d.PrimaryVersion)
	}
}

// TestGeneration: a version that takes its time is waited for, and one that takes too long
// is not lost.
func TestGeneration(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	s.SetOptions(func(o *gcpkmsfake.Options) { o.GenerationReads = 2 })
	if res, err := rotate(t.Context(), m, "1"); err != nil || res.NewVersion != "2" {
		t.Fatalf("it answers %+v, %v", res, err)
	}
	s.SetOptions(func(o *gcpkmsfake.Options) { o.GenerationReads = 1 << 20 })
	short, cancel := context.WithTimeout(t.Context(), 2*generationPoll)
	defer cancel()
	_, err := rotate(short, m, "2")
	wantError(t, "a version that does not get ready", err, provider.Unavailable, "")
	if d := describe(t, m); d.PrimaryVersion != "2" || d.Versions[2].State != provider.KeyDisabled {
		t.Errorf("the key is %+v", d)
	}
	if n := versionsOf(t, s, m); n != 3 {
		t.Errorf("there are %d versions", n)
	}
}

// TestPrimarySpreads: until a new primary is seen everywhere, Wrap says which version it
// got, Rewrap gets the new one, and a rotation that is not to be seen yet is pending.
func TestPrimarySpreads(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{LaggingEncrypts: 2, LaggingReads: 2})
	m := newKEK(t, s)
	before := mustWrap(t, m, "aad")
	res, err := rotate(t.Context(), m, "1")
	if err != nil || res != (provider.RotateKeyResponse{OldVersion: "1", Pending: true}) {
		t.Fatalf("RotateKey answers %+v, %v", res, err)
	}
	if d := describe(t, m); d.PrimaryVersion != "1" {
		t.Fatalf("the fake does not lag: %s", d.PrimaryVersion)
	}
	if d := describe(t, m); d.PrimaryVersion != "2" {
		t.Fatalf("the primary is %s", d.PrimaryVersion)
	}
	w, err := rewrap(t.Context(), m, before, "aad")
	if err != nil || w.KEKVersion != "2" {
		t.Errorf("Rewrap answers version %q, %v", w.KEKVersion, err)
	}
	for _, want := range []string{"1", "1", "2"} {
		w := mustWrap(t, m, "aad")
		if w.KEKVersion != want {
			t.Errorf("Wrap answers version %s, want %s", w.KEKVersion, want)
		}
		if err := unwrap(t.Context(), m, w, "aad"); err != nil {
			t.Error(err)
		}
	}
}

// TestStaleReadMakesNoVersion: who asks again because the old primary is still to be seen
// rotates no second time.
func TestStaleReadMakesNoVersion(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{LaggingReads: 3})
	m := newKEK(t, s)
	for range 2 {
		if _, err := rotate(t.Context(), m, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := versionsOf(t, s, m); n != 2 {
		t.Errorf("there are %d versions", n)
	}
}

func TestWriteQuota(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	s.SetOptions(func(o *gcpkmsfake.Options) { o.WriteQuota = 1 })
	_, err := rotate(t.Context(), m, "1") // made the version, and may not make it the primary
	wantError(t, "over the quota", err, provider.Throttled, "", "Quota exceeded")
	if e, ok := errors.AsType[*provider.Error](err); !ok || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Errorf("it says to come again after %v", err)
	}
	s.SetOptions(func(o *gcpkmsfake.Options) { o.WriteQuota = 0 })
	if res, err := rotate(t.Context(), m, "1"); err != nil || res.NewVersion != "2" || versionsOf(t, s, m) != 2 {
		t.Errorf("afterwards it answers %+v, %v", res, err)
	}
}

func TestCreateLost(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := open(t, at(s, newName()))
	s.Next(1, "*/CreateCryptoKey", faultplan.Lost())
	res, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{})
	if err != nil || res.KEKID != m.key.String() || res.Version != "1" {
		t.Errorf("lost after: it answers %+v, %v", res, err)
	}
	m = open(t, at(s, newName()))
	s.Next(1, "*/CreateCryptoKey", faultplan.Cut())
	_, err = m.CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, "lost before", err, provider.Unavailable, "")
	m = open(t, at(s, "projects/my-project/locations/global/keyRings/none/cryptoKeys/kek"))
	_, err = m.CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, "no key ring", err, provider.InvalidConfig, attrKey, "gcloud kms keyrings create")
}

// TestVersionStates walks a version through all that there is.
func TestVersionStates(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	old := mustWrap(t, m, "aad")
	if _, err := rotate(t.Context(), m, "1"); err != nil {
		t.Fatal(err)
	}
	set := func(v string, state provider.KeyState) error {
		return m.SetVersionState(t.Context(), provider.SetVersionStateRequest{Version: v, State: state})
	}
	for i, step := range []struct{ to, want provider.KeyState }{
		{provider.KeyDisabled, provider.KeyDisabled},
		{provider.KeyEnabled, provider.KeyEnabled},
		{provider.KeyDestroyed, provider.KeyPendingDestruction},
		{provider.KeyDestroyed, provider.KeyPendingDestruction},
		{provider.KeyDisabled, provider.KeyDisabled},
		{provider.KeyDestroyed, provider.KeyPendingDestruction},
		{provider.KeyEnabled, provider.KeyEnabled},
	} {
		if err := set("1", step.to); err != nil {
			t.Fatalf("step %d to %s: %v", i, step.to, err)
		}
		if got := describe(t, m).Versions[0].State; got != step.want {
			t.Errorf("step %d to %s: it is %s", i, step.to, got)
		}
		if err := unwrap(t.Context(), m, old, "aad"); step.want == provider.KeyEnabled && err != nil || step.want != provider.KeyEnabled && !errors.Is(err, provider.InvalidState) {
			t.Errorf("step %d to %s: a wrap answers %v", i, step.to, err)
		}
	}
	for _, state := range []provider.KeyState{provider.KeyDisabled, provider.KeyDestroyed} {
		wantError(t, "the primary", set("2", state), provider.InvalidState, "", "rotate the KEK first")
	}
	wantError(t, "a state that cannot be set", set("1", provider.KeyPendingDestruction), provider.InvalidArgument, "")
	for _, v := range []string{"3", "01", "+1", "0", "-1", "", "a"} {
		wantError(t, "version "+strconv.Quote(v), set(v, provider.KeyDisabled), provider.NotFoundVersion, "")
	}
	if err := set("1", provider.KeyDestroyed); err != nil {
		t.Fatal(err)
	}
	if err := s.Destroy(m.key.version("1")); err != nil {
		t.Fatal(err)
	}
	wantError(t, "after the end", set("1", provider.KeyEnabled), provider.InvalidState, "", "DESTROYED")
	wantError(t, "a wrap after the end", unwrap(t.Context(), m, old, "aad"), provider.InvalidState, "", "nothing opens its wraps")
	if got := describe(t, m).Versions[0].State; got != provider.KeyDestroyed {
		t.Errorf("it is %s", got)
	}
}

// TestStateLost: a change whose answer is lost is found, one that did not come about is not made again.
func TestStateLost(t *testing.T) {
	for call, state := range map[string]provider.KeyState{"UpdateCryptoKeyVersion": provider.KeyDisabled, "DestroyCryptoKeyVersion": provider.KeyDestroyed} {
		s := fake(t, gcpkmsfake.Options{})
		m := newKEK(t, s)
		if _, err := rotate(t.Context(), m, "1"); err != nil {
			t.Fatal(err)
		}
		req := provider.SetVersionStateRequest{Version: "1", State: state}
		s.Next(1, "*/"+call, faultplan.Cut())
		wantError(t, call, m.SetVersionState(t.Context(), req), provider.Unavailable, "")
		s.Next(1, "*/"+call, faultplan.Lost())
		if err := m.SetVersionState(t.Context(), req); err != nil {
			t.Errorf("%s: %v", call, err)
		}
		if n := len(s.Calls("*/" + call)); n != 2 {
			t.Errorf("%s was called %d times", call, n)
		}
	}
}
