package e2e

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// TestOutageWithinGrace: the key manager is away for longer than ttl, and back within
// grace. Nobody notices but the history.
func TestOutageWithinGrace(t *testing.T) {
	s := newOutageScene(t)
	for range 3 { // one request a KEK and ttl
		s.to(outageTTL - time.Second)
		s.works("before the ttl is over")
		s.to(outageTTL)
		s.proved()
	}

	s.to(time.Minute)
	s.fake.Every("*", faultplan.Cut())
	s.to(outageTTL - time.Second)
	s.works("away, within ttl")
	if n := len(s.fake.Calls("*")); n != 0 {
		t.Errorf("within ttl it took %d requests", n)
	}
	s.fake.Clear() // and away again
	s.fake.Every("*", faultplan.Cut())
	s.to(outageTTL)
	s.untilState(outage.Degraded)
	s.works("degraded")
	began := s.status()
	if began.Code != provider.Unavailable || !began.LastSuccess.Equal(s.last) || !began.Until.Equal(s.last.Add(outageTTL+outageGrace)) {
		t.Errorf("%+v", began)
	}
	s.to(outageTTL + outageGrace - 3*time.Minute)
	s.works("at the end of its grace")
	s.fake.Clear()
	s.clock.Advance(2 * time.Minute)
	s.untilState(outage.OK)
	s.works("back")

	events := s.wantEvents("aws degraded UNAVAILABLE", "aws recovered ")
	for name, want := range map[string]string{
		"kek_id": s.arn, "ttl": "30m0s", "grace": "1h0m0s", "keys": "payments",
		"since": s.last.UTC().Format(time.RFC3339Nano), "until": s.last.Add(outageTTL + outageGrace).UTC().Format(time.RFC3339Nano),
	} {
		if got := events[0].Details[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if at := events[0].Time; at.Before(s.last.Add(outageTTL).Truncate(time.Microsecond)) || events[0].Operation != events[1].Operation {
		t.Errorf("%+v", events)
	}
}

// TestOutageBeyondGrace: the key manager is away for longer than ttl and grace. Reads and
// writes fail, at once and in words that help; when it is back, everything works again.
func TestOutageBeyondGrace(t *testing.T) {
	s := newOutageScene(t)
	s.fake.Every("*", faultplan.Failed(503))
	s.to(outageTTL)
	s.untilState(outage.Degraded)
	s.works("degraded")
	s.to(outageTTL + outageGrace)
	s.untilState(outage.Exhausted)
	s.fails("away for too long", engine.ErrOutageBudget, provider.Unavailable)
	s.until("uses are returned", func() bool { return s.held() == 0 })
	s.to(24 * time.Hour)
	s.fails("away for a day", engine.ErrOutageBudget)
	s.fake.Clear()
	s.clock.Advance(2 * time.Minute)
	s.untilState(outage.OK)
	s.opens()
	s.wantEvents("aws degraded UNAVAILABLE", "aws recovered ")
}

// TestAccessRevoked: the KEK is disabled while everything is in use. It is noticed when
// access is proved the next time, and gets no grace.
func TestAccessRevoked(t *testing.T) {
	s := newOutageScene(t)
	s.to(10 * time.Minute)
	if _, err := s.admin.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &s.arn}); err != nil {
		t.Fatal(err)
	}
	s.fake.Forget()
	s.to(outageTTL - time.Second)
	s.works("disabled, and not asked yet")
	s.until("uses are held", func() bool {
		s.works("disabled, and not asked yet")
		return s.held() > 0
	})
	s.to(outageTTL)
	s.until("it is refused once", func() bool { return len(s.fake.Calls("*")) == 1 })
	s.works("refused once")
	s.wantEvents()
	s.clock.Advance(10 * time.Second)
	s.untilState(outage.Revoked)
	if n := len(s.fake.Calls("TrentService.Decrypt")); n != 2 {
		t.Errorf("it took %d requests", n)
	}
	s.fails("disabled", provider.InvalidState)
	s.until("uses are returned", func() bool { return s.held() == 0 })
	if now := s.clock.Now(); now.After(s.last.Add(outageTTL + time.Minute)) {
		t.Errorf("it took until %s", now.Sub(s.last))
	}
	s.to(5 * time.Hour)
	s.fails("disabled for hours", provider.InvalidState)
	if _, err := s.admin.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &s.arn}); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(2 * time.Minute)
	s.untilState(outage.OK)
	s.opens()
	events := s.wantEvents("aws degraded INVALID_STATE", "aws recovered ")
	if first := events[0]; first.Details["revoked"] != "true" || first.Details["until"] != "" || first.KEKVersion == "" {
		t.Errorf("%+v", first)
	}
}

// TestAccessRevokedInAnOutage: access is revoked while the key manager is away. What grace
// is left ends with the answer.
func TestAccessRevokedInAnOutage(t *testing.T) {
	s := newOutageScene(t)
	s.fake.Every("*", faultplan.Throttled(0))
	s.to(outageTTL)
	s.untilState(outage.Degraded)
	s.fake.Clear()
	s.fake.Every("TrentService.Decrypt", faultplan.Refused())
	s.clock.Advance(2 * time.Minute)
	s.untilState(outage.Revoked)
	s.fails("no rights", provider.Denied)
	s.wantEvents("aws degraded THROTTLED", "aws degraded DENIED")
}

// TestRefusedOnce: a refusal that is not confirmed is no revocation.
func TestRefusedOnce(t *testing.T) {
	s := newOutageScene(t)
	s.fake.Next(1, "TrentService.Decrypt", faultplan.Refused())
	s.to(outageTTL)
	s.until("it is refused once", func() bool { return s.fake.Pending() == 0 })
	s.clock.Advance(10 * time.Second)
	s.until("it is asked again", func() bool { return s.status().LastSuccess.After(s.last) })
	s.works("refused once")
	s.wantEvents()
}

// TestCredentialRevoked: AWS no longer knows the credential, which may be an accident. It
// spends the budget, and no more than that.
func TestCredentialRevoked(t *testing.T) {
	s := newOutageScene(t)
	s.fake.Revoke(s.user.AccessKeyID)
	s.to(outageTTL)
	s.untilState(outage.Degraded)
	s.works("degraded")
	s.to(outageTTL + outageGrace)
	s.untilState(outage.Exhausted)
	s.fails("without a credential", engine.ErrOutageBudget, provider.Unauthenticated)
	s.wantEvents("aws degraded UNAUTHENTICATED")
}
