//go:build vault

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// TestVaultFaults has everything go wrong that does go wrong with a Vault, to one host
// and its plugin process.
func TestVaultFaults(t *testing.T) {
	s := newVaultScene(t)
	plugin, running := s.kr.Catalog.PID("vault")
	if !running {
		t.Fatal("no plugin process runs")
	}
	for _, f := range []struct {
		name string
		test func(*vaultScene)
	}{
		{"token revoked in mid-work", tokenRevoked},
		{"secret id destroyed", secretIDDestroyed},
		{"throttled", throttled},
		{"server errors", serverErrors},
		{"connections cut, answers lost", connectionsCut},
		{"slow", slow},
		{"wrong authority", wrongAuthority},
		{"sealed", sealed},
		{"stopped and restarted", restarted},
		{"rotated by hand", rotatedByHand},
		{"rotation whose answer is lost", rotationLost},
		{"minimum version raised", minimumRaised},
		{"key deleted and restored", keyDeleted},
	} {
		if !t.Run(f.name, func(t *testing.T) {
			s.t = t
			f.test(s)
			s.proxy.Clear()
			s.mended(f.name)
		}) {
			break
		}
	}
	s.t = t
	if after, _ := s.kr.Catalog.PID("vault"); after != plugin {
		t.Errorf("the plugin process %d was replaced by %d", plugin, after)
	}
	wrongMount(s)
}

func tokenRevoked(s *vaultScene) {
	s.admin("sys/leases/revoke-prefix/auth/"+s.role.Mount, nil)
}

func secretIDDestroyed(s *vaultScene) {
	s.server.DestroySecretID(s.t, s.role)
	s.admin("sys/leases/revoke-prefix/auth/"+s.role.Mount, nil)
	s.broken("the secret id is gone", provider.Unauthenticated, "does not take this credential")
	s.role.SecretID = s.server.NewSecretID(s.t, s.role)
	s.useSecretID()
}

func throttled(s *vaultScene) {
	s.proxy.Every("*/"+s.mount+"/*", faultplan.Throttled(0))
	s.broken("throttled", provider.Throttled, "429")
	s.proxy.Clear()
	// Vault says when to come again, and the host does.
	s.proxy.Next(1, "PUT *datakey*", faultplan.Throttled(time.Second))
	began := time.Now()
	if err := s.rotate(); err != nil {
		s.t.Errorf("throttled once: %v", err)
	}
	if d := time.Since(began); d < time.Second {
		s.t.Errorf("it came again after %s", d)
	}
}

func serverErrors(s *vaultScene) {
	for _, status := range []int{500, 502, 503, 504} {
		s.proxy.Every("*/"+s.mount+"/*", faultplan.Failed(status))
		s.broken(fmt.Sprint(status), provider.Unavailable, fmt.Sprint(status))
		s.proxy.Clear()
	}
	s.proxy.Next(2, "PUT *datakey*", faultplan.Failed(503))
	if err := s.rotate(); err != nil {
		s.t.Errorf("two failures in a row: %v", err)
	}
}

func connectionsCut(s *vaultScene) {
	s.proxy.Every("*/"+s.mount+"/*", faultplan.Cut())
	s.broken("cut off", provider.Unavailable, "cannot be reached")
	s.proxy.Clear()
	s.proxy.Next(1, "PUT *datakey*", faultplan.Lost())
	s.proxy.Next(1, "PUT *decrypt*", faultplan.Lost())
	if err := s.rotate(); err != nil {
		s.t.Errorf("answers that were lost once: %v", err)
	}
	if n := s.proxy.Pending(); n != 0 {
		s.t.Errorf("%d faults did not happen", n)
	}
}

func slow(s *vaultScene) {
	s.proxy.Every("PUT *datakey*", faultplan.Late(time.Minute))
	s.broken("slow", provider.Unavailable, "within the 3s that timeout allows")
}

func wrongAuthority(s *vaultScene) {
	s.trust(s.server.CAFile) // it signed the server's certificate, and not the proxy's
	s.broken("another authority", provider.InvalidConfig, "ca_file", "not signed by an authority")
	s.trust(s.proxy.CAFile)
}

func sealed(s *vaultScene) {
	s.server.Seal(s.t)
	s.broken("sealed", provider.Unavailable, "sealed")
	s.server.Unseal(s.t)
}

func restarted(s *vaultScene) {
	s.server.Stop(s.t)
	s.broken("stopped", provider.Unavailable, "cannot be reached")
	s.server.RestartSealed(s.t)
	s.broken("not unsealed", provider.Unavailable, "sealed")
	s.server.Unseal(s.t)
}

func rotatedByHand(s *vaultScene) {
	s.admin(s.keyPath("/rotate"), nil)
	s.examines(doctor.Warn, "provider.rotated")
	report, err := s.kr.RewrapKEK(s.t.Context(), rewrap.KEKRequest{Provider: "vault"})
	if err != nil || !report.RotatedExternally || len(report.Failed) != 0 || report.Rewrapped != report.Versions || report.Versions == 0 {
		s.t.Errorf("%+v, %v", report, err)
	}
	s.examines(doctor.OK, "provider.wraps")
}

// examines holds what doctor finds.
func (s *vaultScene) examines(status doctor.Status, check string) {
	s.t.Helper()
	report, err := core.Opener{}.Examine(s.t.Context(), s.config, true)
	if err != nil {
		s.t.Fatal(err)
	}
	var seen []string
	for _, f := range report.Findings {
		if f.Check == check && f.Status == status {
			return
		}
		if strings.HasPrefix(f.Check, "provider.") {
			seen = append(seen, fmt.Sprintf("%s %s: %s", f.Status, f.Check, f.Evidence))
		}
	}
	s.t.Errorf("doctor does not find %s to be %s, but\n%s", check, status, strings.Join(seen, "\n"))
}

func rotationLost(s *vaultScene) {
	before := s.versions()
	s.proxy.Next(1, "PUT */rotate", faultplan.Lost())
	rotation, err := s.kr.RotateKEK(s.t.Context(), rewrap.KEKRequest{Provider: "vault"})
	if err != nil || rotation.KEKVersion != fmt.Sprint(before+1) || len(rotation.Failed) != 0 {
		s.t.Errorf("%+v, %v", rotation, err)
	}
	if after := s.versions(); after != before+1 || s.proxy.Pending() != 0 {
		s.t.Errorf("%d versions became %d, and %d faults did not happen", before, after, s.proxy.Pending())
	}
	// One that never arrived changes nothing, and is done by the next try.
	s.proxy.Every("PUT */rotate", faultplan.Cut())
	_, err = s.kr.RotateKEK(s.t.Context(), rewrap.KEKRequest{Provider: "vault"})
	s.hasCode("a rotation that was cut off", err, provider.Unavailable)
	s.proxy.Clear()
	if after := s.versions(); after != before+1 {
		s.t.Errorf("a rotation that was cut off made %d versions of %d", after, before+1)
	}
	if _, err := s.kr.RotateKEK(s.t.Context(), rewrap.KEKRequest{Provider: "vault"}); err != nil {
		s.t.Error(err)
	}
	if after := s.versions(); after != before+2 {
		s.t.Errorf("the next try made %d versions of %d", after, before+1)
	}
}

// minimumRaised before the wraps were moved closes them, for a host that has not opened
// them yet; set back, everything opens.
func minimumRaised(s *vaultScene) {
	s.admin(s.keyPath("/rotate"), nil)
	newest := s.versions()
	s.admin(s.keyPath("/config"), map[string]any{"min_decryption_version": newest})
	cold := s.open()
	defer func() { _ = cold.Close() }()
	var err error
	for _, token := range s.tokens {
		if _, err = cold.Decrypt(s.t.Context(), token, nil); err != nil {
			break
		}
	}
	s.hasCode("closed", err, provider.InvalidState, fmt.Sprintf("min_decryption_version of the key is %d", newest), "kek rewrap")
	s.examines(doctor.Fail, "provider.wraps")
	s.reads(s.kr) // who has them open goes on
	s.admin(s.keyPath("/config"), map[string]any{"min_decryption_version": 1})
	s.reads(cold) // the same host
	if _, err := s.kr.RewrapKEK(s.t.Context(), rewrap.KEKRequest{Provider: "vault"}); err != nil {
		s.t.Error(err)
	}
	// Now it may be raised.
	s.admin(s.keyPath("/config"), map[string]any{"min_decryption_version": newest})
	s.examines(doctor.OK, "provider.wraps")
}

func keyDeleted(s *vaultScene) {
	s.admin(s.keyPath("/config"), map[string]any{"deletion_allowed": true, "exportable": true, "allow_plaintext_backup": true})
	client := s.server.Client(s.t)
	backup, err := client.Logical().ReadWithContext(s.t.Context(), s.mount+"/backup/"+vaultKEK)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := client.Logical().DeleteWithContext(s.t.Context(), s.keyPath("")); err != nil {
		s.t.Fatal(err)
	}
	s.broken("deleted", provider.NotFoundKey, "restore it from a backup")
	s.examines(doctor.Fail, "provider.kek")
	s.admin(s.mount+"/restore/"+vaultKEK, map[string]any{"backup": backup.Data["backup"]})
}

// wrongMount is a mistake in the config: another host finds it out, and changes nothing.
func wrongMount(s *vaultScene) {
	s.role = s.server.AppRole(s.t, vaulttest.Grant{Policy: s.server.Policy(s.t, `path "*" { capabilities = ["read", "update"] }`)})
	s.useSecretID()
	s.configure("nowhere")
	kr := s.open()
	_, err := kr.Rotate(context.WithoutCancel(s.t.Context()), "payments", keyring.ReasonManual, "")
	s.hasCode("a wrong mount", err, provider.InvalidConfig, "mount", "nothing is mounted")
	if e, ok := errors.AsType[*provider.Error](err); !ok || e.Attribute != "mount" {
		s.t.Errorf("the attribute is missing: %v", err)
	}
	s.configure(s.mount)
	s.kr = s.open()
	s.mended("a wrong mount")
	s.keepsSecrets("the log", s.log.String())
	if !strings.Contains(s.log.String(), "vault-transit") {
		s.t.Error("nothing was logged of the plugin")
	}
}
