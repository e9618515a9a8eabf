package awskmsfake

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

func TestFaults(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	disable := func() error {
		_, err := s.DisableKey(s.Context(), &kms.DisableKeyInput{KeyId: &key})
		return err
	}
	on := func() bool {
		t.Helper()
		out, err := s.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
		if err != nil {
			t.Fatal(err)
		}
		return out.KeyMetadata.Enabled
	}
	for what, c := range map[string]struct {
		fault faultplan.Fault
		code  string
	}{
		"throttled": {faultplan.Throttled(time.Second), "ThrottlingException"},
		"failed":    {faultplan.Failed(503), "KMSInternalException"},
		"refused":   {faultplan.Refused(), "AccessDeniedException"},
	} {
		s.server.Next(1, "TrentService.DisableKey", c.fault)
		s.refused(what, disable(), c.code)
	}
	s.server.Next(1, "TrentService.DisableKey", faultplan.Cut())
	if err := disable(); err == nil || !on() {
		t.Errorf("cut before: %v, enabled %t", err, on())
	}
	s.server.Next(1, "TrentService.DisableKey", faultplan.Lost())
	if err := disable(); err == nil || on() {
		t.Errorf("cut after: %v, enabled %t", err, on())
	}
	s.server.Next(1, "TrentService.DescribeKey", faultplan.Wrong(func(b []byte) []byte {
		return []byte(strings.Replace(string(b), `"Enabled":false`, `"Enabled":true`, 1))
	}))
	if !on() {
		t.Error("the answer was not changed")
	}
	s.server.Next(1, "TrentService.DescribeKey", faultplan.Late(time.Hour))
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a late answer: %v", err)
	}
}
