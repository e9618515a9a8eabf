package awskms

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// write makes a file of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noEnvironment keeps the machine's own AWS out, as a plugin's process does.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
}

func (l *lab) role(r awskmsfake.Role) string {
	l.t.Helper()
	r.Name = newName("role")
	if r.Policy == "" {
		r.Policy = awskmsfake.AllowAll
	}
	made, err := l.AddRole(r)
	if err != nil {
		l.t.Fatal(err)
	}
	return made.ARN()
}

func profileFile(t testing.TB, name string, c awskmsfake.Credentials) string {
	t.Helper()
	return write(t, fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", name, c.AccessKeyID, c.SecretAccessKey))
}

// TestCredentials tries each way to be somebody, with the identity that AWS then sees.
func TestCredentials(t *testing.T) {
	noEnvironment(t)
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	who := func(m *manager) string {
		t.Helper()
		res, err := m.Check(t.Context(), provider.CheckRequest{Deep: true})
		if err != nil {
			t.Error(err)
		}
		if res.Account != awskmsfake.Account {
			t.Errorf("the account is %q", res.Account)
		}
		return res.Identity
	}
	none := map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil}
	block := func(other map[string]any) *manager {
		for k, v := range none {
			if _, ok := other[k]; !ok {
				other[k] = v
			}
		}
		return l.open(arn, other)
	}

	if got := who(l.open(arn, nil)); !strings.HasPrefix(got, "arn:aws:iam::111122223333:user/user-") {
		t.Errorf("with an access key it is %q", got)
	}

	user := l.userWith(awskmsfake.AllowAll)
	if got := who(block(map[string]any{attrProfile: "shop", attrCredentialsFile: profileFile(t, "shop", user)})); !strings.Contains(got, ":user/") {
		t.Errorf("with a profile it is %q", got)
	}
	if got := who(block(map[string]any{attrCredentialsFile: profileFile(t, "default", user)})); !strings.Contains(got, ":user/") {
		t.Errorf("with the default profile it is %q", got)
	}
	config := write(t, "[profile shop]\nregion = eu-west-1\nrole_arn = "+l.role(awskmsfake.Role{Trusted: l.arnOf(user)})+"\nsource_profile = base\nservices = lab\n"+
		"[services lab]\nsts =\n  endpoint_url = "+l.URL+"\n")
	if got := who(block(map[string]any{
		attrProfile: "shop", attrConfigFile: config, attrCredentialsFile: profileFile(t, "base", user), attrRegion: nil,
	})); !strings.Contains(got, ":assumed-role/") {
		t.Errorf("with a profile's role it is %q", got)
	}

	trusting := l.role(awskmsfake.Role{Trusted: l.arnOf(l.user), ExternalID: "contract-7"})
	if got := who(l.open(arn, map[string]any{attrRoleARN: trusting, attrExternalID: "contract-7", attrRoleSessionName: "shop-1"})); !strings.HasSuffix(got, "/shop-1") {
		t.Errorf("with a role it is %q", got)
	}
	web := l.role(awskmsfake.Role{WebIdentityToken: "token-of-the-pod"})
	if got := who(block(map[string]any{attrRoleARN: web, attrWebIdentityToken: write(t, "token-of-the-pod")})); !strings.HasSuffix(got, "/keyrotor") {
		t.Errorf("with a web identity it is %q", got)
	}

	// The environment counts where the plugin's process has it.
	t.Setenv("AWS_ACCESS_KEY_ID", user.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", user.SecretAccessKey)
	if got := who(block(map[string]any{})); !strings.Contains(got, ":user/") {
		t.Errorf("with the environment it is %q", got)
	}
}

// arnOf is the user that credentials belong to.
func (l *lab) arnOf(c awskmsfake.Credentials) string {
	l.t.Helper()
	parts := strings.Split(c.SecretAccessKey, "/")
	return awskmsfake.UserARN(parts[3])
}

func TestCredentialsThatFail(t *testing.T) {
	noEnvironment(t)
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	trusting := l.role(awskmsfake.Role{Trusted: l.arnOf(l.user), ExternalID: "contract-7"})
	web := l.role(awskmsfake.Role{WebIdentityToken: "token"})
	nothing := map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil}
	token := func(file string) map[string]any {
		return map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil, attrRoleARN: web, attrWebIdentityToken: file}
	}
	for name, c := range map[string]struct {
		block     map[string]any
		code      provider.Code
		attribute string
		says      string
	}{
		"none":                {nothing, provider.Unauthenticated, "", "plugins { environment"},
		"a wrong key":         {map[string]any{attrAccessKeyID: "AKIAUNKNOWN"}, provider.Unauthenticated, "", "UnrecognizedClient"},
		"a wrong secret":      {map[string]any{attrSecretAccessKey: provider.NewSecret([]byte("another secret"))}, provider.Unauthenticated, "", "InvalidSignature"},
		"a wrong token":       {map[string]any{attrSessionToken: provider.NewSecret([]byte("wrong"))}, provider.Unauthenticated, "", "UnrecognizedClient"},
		"no profile":          {map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil, attrProfile: "shop"}, provider.InvalidConfig, attrProfile, "shop"},
		"a broken file":       {map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil, attrConfigFile: write(t, "[default]\nrole_arn = arn:aws:iam::111122223333:role/x\ncredential_source = Thin air\n")}, provider.InvalidConfig, attrConfigFile, ""},
		"no role":             {map[string]any{attrRoleARN: "arn:aws:iam::111122223333:role/nobody"}, provider.Denied, "", "trust policy"},
		"no external id":      {map[string]any{attrRoleARN: trusting}, provider.Denied, "", attrExternalID},
		"another external id": {map[string]any{attrRoleARN: trusting, attrExternalID: "contract-8"}, provider.Denied, "", attrExternalID},
		"no token file":       {token("/nowhere/token"), provider.InvalidConfig, attrWebIdentityToken, "/nowhere/token"},
		"another token":       {token(write(t, "other")), provider.Unauthenticated, "", "InvalidIdentityToken"},
		"STS is elsewhere":    {map[string]any{attrRoleARN: trusting, attrSTSEndpoint: "http://127.0.0.1:1"}, provider.Unavailable, "", "AWS STS"},
	} {
		wantError(t, name, describe(t.Context(), l.open(arn, c.block)), c.code, c.attribute, c.says)
	}
	l.Every("STS.*", faultplan.Throttled(0))
	wantError(t, "STS is busy", describe(t.Context(), l.open(arn, map[string]any{attrRoleARN: trusting, attrExternalID: "contract-7"})), provider.Throttled, "")
	// Who we are is good to know, and no more.
	if res, err := l.open(arn, nil).Check(t.Context(), provider.CheckRequest{}); err != nil || res.Identity != "" || res.Account != awskmsfake.Account {
		t.Errorf("without STS a check answers %+v, %v", res, err)
	}
	bare := "1234abcd-12ab-34cd-56ef-1234567890ab"
	wantError(t, "no region", describe(t.Context(), l.open(bare, map[string]any{attrRegion: nil})), provider.InvalidConfig, attrRegion, "names a region")
}

// TestCredentialsThatChange: a refused request is made once more with what the files say now.
func TestCredentialsThatChange(t *testing.T) {
	noEnvironment(t)
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	first, second := l.userWith(awskmsfake.AllowAll), l.userWith(awskmsfake.AllowAll)
	path := profileFile(t, "default", first)
	m := l.open(arn, map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil, attrCredentialsFile: path})
	version := primary(t, m)
	l.Revoke(first.AccessKeyID)
	wantError(t, "revoked", describe(t.Context(), m), provider.Unauthenticated, "")
	replaced, err := os.ReadFile(profileFile(t, "default", second))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, replaced, 0o600); err != nil {
		t.Fatal(err)
	}
	if res, err := rotate(t, m, version, "request"); err != nil || !res.Pending {
		t.Errorf("with the new key: %+v, %v", res, err)
	}

	// A role's credentials are replaced before they end, and when they end early.
	aws := &clock{}
	l = newLab(t, awskmsfake.Config{Now: aws.now})
	arn = l.key()
	m = l.open(arn, map[string]any{attrRoleARN: l.role(awskmsfake.Role{Trusted: l.arnOf(l.user)})})
	if err := describe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	aws.advance(2 * time.Hour)
	if err := describe(t.Context(), m); err != nil {
		t.Errorf("after the session's end: %v", err)
	}
	if got := len(l.Calls("STS.AssumeRole")); got != 2 {
		t.Errorf("the role was assumed %d times", got)
	}
}
