package awskms

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// TestHostEnvironment: the plugin's process knows the host's AWS variables only as far as
// the operator's list names them.
func TestHostEnvironment(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := procs.Build(filepath.Join(dir, catalog.FileName("aws-kms")), "plugins/aws-kms"); err != nil {
		t.Fatal(err)
	}
	noEnvironment(t) // not before the build, whose cache is in HOME
	log, lock := slog.New(slog.DiscardHandler), catalog.NewLock()
	if err := lock.Pin(t.Context(), dir, log, "aws-kms"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", l.user.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", l.user.SecretAccessKey)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_PROFILE", "nobody")
	describe := func(names ...string) error {
		sockets, err := os.MkdirTemp("", "kr")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(sockets)
		c, err := catalog.New(catalog.Config{
			PluginDir: dir, Lock: lock, Log: log, SocketRoot: sockets,
			Env: map[string][]string{"aws-kms": append(names, "AWS_EC2_METADATA_DISABLED")},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		body := l.body(arn, map[string]any{attrAccessKeyID: nil, attrSecretAccessKey: nil})
		if err := c.Add("dr", "aws-kms", body); err != nil {
			t.Fatal(err)
		}
		km, err := c.Provider("dr")
		if err != nil {
			t.Fatal(err)
		}
		_, err = km.DescribeKey(t.Context())
		return err
	}
	if err := describe(); provider.CodeOf(err) != provider.Unauthenticated {
		t.Errorf("the host's variables came in: %v", err)
	}
	if err := describe("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"); err != nil {
		t.Errorf("with the variables on the list: %v", err)
	}
	if err := describe("AWS_PROFILE"); provider.CodeOf(err) != provider.InvalidConfig {
		t.Errorf("with a profile on the list: %v", err)
	}
}
