package core_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
)

func TestImportKey(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, "provider \"local\" \"second\" {\n  path = \"second.kek\"\n}\n")
	kr := open(t, path)
	// Which of the two providers is not said.
	i := engine.Imported{Root: keyring.GenerateRoot()}
	if _, err := kr.ImportKey(t.Context(), "payments", i, core.KeyOptions{}); err == nil || i.Root.Len() != 0 {
		t.Errorf("%v, and %d bytes of the root are left", err, i.Root.Len())
	}
	i = engine.Imported{Root: keyring.GenerateRoot()}
	key, err := kr.ImportKey(t.Context(), "payments", i, core.KeyOptions{WrapWith: []string{"local"}, Note: "from elsewhere"})
	if err != nil || len(key.Versions) != 1 || key.Settings.Algorithm != keyring.AES256GCM || i.Root.Len() != 0 {
		t.Fatalf("%+v, %v", key, err)
	}
	page, err := kr.History(t.Context(), historyOf("payments"))
	if err != nil || len(page.Events) != 1 || !strings.Contains(string(page.Events[0]), `"note":"from elsewhere"`) {
		t.Errorf("history %s, %v", page.Events, err)
	}
}

// TestDestructionOfRegisteredData: the gate looks at what the config registers, acts
// in the name of who opened it, and the engine takes part at once.
func TestDestructionOfRegisteredData(t *testing.T) {
	path := newDir(t)
	env := filepath.Join(filepath.Dir(path), "shop.env")
	appendTo(t, path, "data \"files\" \"shop\" {\n  paths = [\"shop.env\"]\n}\n")
	kr, err := core.Opener{Actor: "billing-service"}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	d, err := kr.Destruction(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(env, token, 0o600); err != nil {
		t.Fatal(err)
	}
	var refused *destruction.RefusedError
	if _, err := d.Schedule(t.Context(), "payments", 1, 0, ""); !errors.As(err, &refused) || refused.Reasons[0].At != env+":1" {
		t.Errorf("with a token there: %v", err)
	}
	if err := os.WriteFile(env, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kr.Decrypt(t.Context(), token, nil); err != nil {
		t.Error(err)
	}
	s, err := d.Schedule(t.Context(), "payments", 1, 0, "")
	if err != nil || s.Actor != "billing-service" {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := kr.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
		t.Errorf("in quarantine: %v", err)
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != 1 || list[0].Attempts != 1 {
		t.Errorf("in quarantine are %+v, %v", list, err)
	}
}
