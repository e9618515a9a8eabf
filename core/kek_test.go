package core_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// TestMoveWraps goes the whole way through real plugins: a KEK is rotated, the key
// migrates, and what was encrypted at first is read by a process that begins then.
func TestMoveWraps(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, "\nprovider \"local\" \"second\" {\n  path = \"second.kek\"\n}\n")
	var steps []rotation.Step
	kr, err := core.Opener{Actor: "ops", OnStep: func(_ string, s rotation.Step) { steps = append(steps, s) }}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKEK(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{WrapWith: []string{"local"}}); err != nil {
		t.Fatal(err)
	}
	token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	steps = nil
	rotated, err := kr.RotateKEK(t.Context(), rewrap.KEKRequest{Provider: "local"})
	if err != nil || rotated.KEKVersion != "2" || rotated.Rewrapped != 1 {
		t.Errorf("rotated: %+v, %v", rotated, err)
	}
	want := []rotation.Step{rewrap.StepIntent, rewrap.StepRotated, rewrap.StepRecorded, rewrap.StepProved, rewrap.StepMoved}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v", steps)
	}
	if report, err := kr.RewrapKEK(t.Context(), rewrap.KEKRequest{Provider: "local"}); err != nil || report.Rewrapped != 0 {
		t.Errorf("rewrapped: %+v, %v", report, err)
	}
	if kek, err := kr.DescribeKEK(t.Context(), "local"); err != nil || kek.Primary != "2" || kek.Versions[1].Wraps != 1 {
		t.Errorf("described: %+v, %v", kek, err)
	}
	keys, err := kr.WrappedBy(t.Context(), "local")
	if err != nil || !slices.Equal(keys, []string{"payments"}) {
		t.Errorf("wrapped by local: %v, %v", keys, err)
	}
	report, err := kr.Migrate(t.Context(), rewrap.MigrationRequest{Keys: keys, From: "local", To: "second"})
	if err != nil || report.Retired != 1 {
		t.Errorf("migrated: %+v, %v", report, err)
	}
	// This process opened the version long ago, and reads on without asking.
	if err := os.Remove(filepath.Join(filepath.Dir(path), "keyrotor.kek")); err != nil {
		t.Fatal(err)
	}
	for name, reader := range map[string]*core.Keyrotor{"old": kr, "new": open(t, path)} {
		if got, err := reader.Decrypt(t.Context(), token, nil); err != nil || string(got) != "s3cret" {
			t.Errorf("the %s process reads %q, %v", name, got, err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Error(err)
	}
}
