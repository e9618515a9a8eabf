package engine_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

// TestTamperedRecord: a row edited by hand refuses encryption and says why; reads go on.
func TestTamperedRecord(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	b.edit(t, `UPDATE keys SET hard_limit = hard_limit / 2`)
	other := b.engine(t)
	if _, err := other.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("encrypting under a tampered record: %v", err)
	}
	mustDecrypt(t, other, token, "", "x")
	if _, err := other.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("rotating a tampered record: %v", err)
	}
	b.edit(t, `UPDATE keys SET hard_limit = hard_limit * 2`)
	if _, err := other.Encrypt(t.Context(), "payments", nil, nil); err != nil {
		t.Errorf("after the repair: %v", err)
	}
}

// TestTamperedRefusal: where an edited record keeps something from being done, the
// edit is named along with what came of it.
func TestTamperedRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		edit             string
		decrypt, encrypt error
	}{
		"state":   {`UPDATE versions SET state = 'suspended'`, keyring.ErrState, keyring.ErrNoPrimary},
		"primary": {`UPDATE keys SET primary_version = NULL`, nil, keyring.ErrNoPrimary},
		"wrap":    {`UPDATE wraps SET blob = zeroblob(length(blob))`, provider.Integrity, provider.Integrity},
		"version": {`UPDATE keys SET min_decrypt_version = 1`, nil, nil},
	} {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		b.edit(t, c.edit)
		other := b.engine(t)
		_, err := other.Decrypt(t.Context(), token, nil)
		if !errors.Is(err, c.decrypt) || errors.Is(err, keyring.ErrIntegrity) != (c.decrypt != nil) {
			t.Errorf("%s: decrypting: %v", name, err)
		}
		_, err = other.Encrypt(t.Context(), "payments", nil, nil)
		if !errors.Is(err, keyring.ErrIntegrity) || c.encrypt != nil && !errors.Is(err, c.encrypt) {
			t.Errorf("%s: encrypting: %v", name, err)
		}
	}
}

// edit changes the database by hand.
func (b *bench) edit(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
