package awskms

import (
	"maps"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// TestRequests holds the page's table of costs against what AWS was asked.
func TestRequests(t *testing.T) {
	l := newLab(t, awskmsfake.Config{RotationTakes: time.Hour})
	arn := l.key()
	m := l.open(arn, nil)
	ops := operations(primary(t, m), wrapOne(t, m, ""))
	counted := func(what string, do func() error, want map[string]int) {
		t.Helper()
		l.Forget()
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := l.counts(); !maps.Equal(got, want) {
			t.Errorf("%s makes the requests %v, want %v", what, got, want)
		}
	}
	for name, want := range map[string]map[string]int{
		"check":      {"DescribeKey": 1, "STS.GetCallerIdentity": 1},
		"check deep": {"DescribeKey": 1, "STS.GetCallerIdentity": 1, "Encrypt": 1, "Decrypt": 1},
		"describe":   {"DescribeKey": 1, "ListKeyRotations": 1},
		"generate":   {"GenerateDataKey": 1},
		"wrap":       {"Encrypt": 1},
		"unwrap":     {"Decrypt": 1},
		"rewrap":     {"ReEncrypt": 1},
	} {
		counted(name, func() error { return ops[name](t.Context(), m) }, want)
	}
	counted("rotate", func() error { return ops["rotate"](t.Context(), m) },
		map[string]int{"DescribeKey": 1, "GetKeyRotationStatus": 1, "RotateKeyOnDemand": 1})
	lost := l.open(l.key(), nil)
	version := primary(t, lost)
	l.Next(1, "TrentService.RotateKeyOnDemand", faultplan.Lost())
	counted("rotate, the answer lost", func() error {
		_, err := rotate(t, lost, version, "request")
		return err
	}, map[string]int{"DescribeKey": 2, "GetKeyRotationStatus": 2, "RotateKeyOnDemand": 1})
	counted("64 items", func() error {
		items := make([]provider.WrapItem, 64)
		for i := range items {
			items[i].Plaintext = root()
		}
		_, err := m.Wrap(t.Context(), items)
		return err
	}, map[string]int{"Encrypt": 64})
	counted("the end", m.Close, map[string]int{})

	aliased := l.open(l.alias(arn), nil)
	for i, want := range []map[string]int{{"DescribeKey": 1, "Decrypt": 1}, {"Decrypt": 1}} {
		counted([]string{"the first unwrap by alias", "the second"}[i], func() error { return ops["unwrap"](t.Context(), aliased) }, want)
	}
	assumed := l.open(arn, map[string]any{attrRoleARN: l.role(awskmsfake.Role{Trusted: l.arnOf(l.user)})})
	for i, want := range []map[string]int{{"STS.AssumeRole": 1, "Decrypt": 1}, {"Decrypt": 1}} {
		counted([]string{"the first unwrap by role", "the second"}[i], func() error { return ops["unwrap"](t.Context(), assumed) }, want)
	}
	maker := l.open(newName("alias/kek"), nil)
	counted("create", func() error {
		_, err := maker.CreateKey(t.Context(), provider.CreateKeyRequest{})
		return err
	}, map[string]int{"DescribeKey": 1, "CreateKey": 1, "CreateAlias": 1})
}
