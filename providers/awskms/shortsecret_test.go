package awskms

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// TestShortSecret: in FIPS 140 mode one that is too short is refused, wherever it comes
// from, and the shortest that is not gets its answer from AWS. The test runs itself in
// that mode.
func TestShortSecret(t *testing.T) {
	const mode = "fips140=only"
	if os.Getenv("GODEBUG") != mode {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "GODEBUG="+mode)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("in FIPS 140 mode: %v\n%s", err, out)
		}
		return
	}
	if !fips140.Enforced() {
		t.Fatal("not in FIPS 140 mode")
	}
	noEnvironment(t)
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	const short, enough = "123456789", "1234567890"
	with := func(secret string) awskmsfake.Credentials {
		return awskmsfake.Credentials{AccessKeyID: l.user.AccessKeyID, SecretAccessKey: secret}
	}
	role := l.role(awskmsfake.Role{Trusted: l.arnOf(l.user)})
	config := write(t, "[profile shop]\nrole_arn = "+role+"\nsource_profile = base\nservices = lab\n[services lab]\nsts =\n  endpoint_url = "+l.URL+"\n")
	for name, c := range map[string]struct {
		block     map[string]any
		attribute string
	}{
		"in the block": {as(with(short)), attrSecretAccessKey},
		"for a role": {map[string]any{
			attrSecretAccessKey: provider.NewSecret([]byte(short)), attrRoleARN: role,
		}, attrSecretAccessKey},
		"in a file": {map[string]any{
			attrAccessKeyID: nil, attrSecretAccessKey: nil, attrCredentialsFile: profileFile(t, "default", with(short)),
		}, attrCredentialsFile},
		"for a profile's role": {map[string]any{
			attrAccessKeyID: nil, attrSecretAccessKey: nil, attrProfile: "shop", attrConfigFile: config, attrCredentialsFile: profileFile(t, "base", with(short)),
		}, attrProfile},
	} {
		wantError(t, name, describe(t.Context(), l.open(arn, c.block)), provider.InvalidConfig, c.attribute, "fewer than 10 characters")
	}
	wantError(t, "ten characters", describe(t.Context(), l.open(arn, as(with(enough)))), provider.Unauthenticated, "", "InvalidSignature")
}
