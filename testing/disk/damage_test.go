package disk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// wound is one way in which a database file is not what was written.
type wound struct {
	name    string
	inflict func([]byte) []byte
}

// wounds hurt every page: in its header, by which SQLite finds its way, at random
// places, as a whole, and by cutting the file off in front of it.
func wounds(random *rand.Rand, size int) []wound {
	var list []wound
	for page := range size / pageSize {
		start := page * pageSize
		offsets := []int{0, 3, 5, 8}
		for range 3 {
			offsets = append(offsets, random.IntN(pageSize))
		}
		for _, at := range offsets {
			bit := byte(1) << random.IntN(8)
			list = append(list, wound{fmt.Sprintf("page %d, offset %d, bit %08b", page+1, at, bit), func(b []byte) []byte {
				b[start+at] ^= bit
				return b
			}})
		}
		list = append(list,
			wound{fmt.Sprintf("page %d of zeros", page+1), func(b []byte) []byte {
				clear(b[start : start+pageSize])
				return b
			}},
			wound{fmt.Sprintf("cut off in front of page %d", page+1), func(b []byte) []byte { return b[:start] }},
		)
	}
	return list
}

// tampering are the errors that say that a store is not what it was. Any other answer
// to damage would send the operator elsewhere.
var tampering = []error{store.ErrCorrupt, keyring.ErrIntegrity, store.ErrForeign, store.ErrSchema}

func saysSo(err error) bool {
	return slices.ContainsFunc(tampering, func(target error) bool { return errors.Is(err, target) })
}

// TestDamage wounds a store in hundreds of ways, in the usual tier in every seventh of them,
// which on one page or another is each way. What is answered is right, or it is
// an error that says that the store is damaged; nothing is built upon a record that
// was hurt, and the doctor knows.
func TestDamage(t *testing.T) {
	const seed = 20261124
	v := newVault(t)
	tokens := fill(t, v)
	whole, err := os.ReadFile(v.path)
	if err != nil {
		t.Fatal(err)
	}
	original := contents(t, v.path)
	if original == nil {
		t.Fatal("the store cannot be read")
	}
	digests := map[string]string{}
	for _, key := range keys {
		if digests[key], err = v.digest(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	var list []wound
	for i, w := range wounds(rand.New(rand.NewPCG(seed, 0)), len(whole)) {
		if i%tier.Pick(7, 1) == 0 {
			list = append(list, w)
		}
	}
	lost, refused, found := 0, 0, 0
	for _, w := range list {
		p := patient{vault: v.at(filepath.Join(folder(t), "keyrotor.db")), name: w.name, tokens: tokens, digests: digests}
		if err := os.WriteFile(p.path, w.inflict(slices.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		hurt := !slices.Equal(contents(t, p.path), original)
		failed := p.examine(t)
		errs := p.use(t)
		if len(errs) > 0 {
			refused++
		}
		if len(failed) > 0 {
			found++
		}
		if hurt {
			lost++
		}
		if (hurt || len(errs) > 0) && len(failed) == 0 {
			t.Errorf("%s: the doctor finds nothing, though what is stored changed (%v), and %v", w.name, hurt, errs)
		}
		if hurt && len(p.examine(t)) == 0 {
			t.Errorf("%s: the doctor finds nothing any more", w.name)
		}
	}
	t.Logf("%d wounds (seed %d) of a store of %d pages: %d changed what is stored, %d refused something, the doctor found %d",
		len(list), seed, len(whole)/pageSize, lost, refused, found)
	if lost == 0 || refused == 0 {
		t.Error("no wound did any harm: the test shows nothing")
	}
}

// keys are those of the store.
var keys = []string{"payments", "orders"}

// fill makes the keys in nine versions each, with a token under every one of them.
func fill(t *testing.T, v vault) (tokens map[string]string) {
	t.Helper()
	tokens = map[string]string{}
	for _, key := range keys {
		if err := v.createKey(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		for i := range 9 {
			value := fmt.Sprintf("%s %d", key, i)
			token, err := v.encrypt(t.Context(), key, value)
			if err != nil {
				t.Fatal(err)
			}
			if tokens[token] = value; i == 8 {
				break
			}
			if err := v.rotate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	return tokens
}

// contents reads what a digest or the tree covers, past Keyrotor's own code; nil if
// it cannot be read.
func contents(t *testing.T, path string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all []string
	for _, query := range []string{
		`SELECT hex(store_id), '', '' FROM meta`,
		`SELECT hex(id), name || created || algorithm, min_decrypt_version || ' ' || hard_limit || wrap_with || block_reads || ' ' || coalesce(primary_version, '') FROM keys ORDER BY id`,
		`SELECT hex(key_id), number || ' ' || label || state || algorithm, created || ' ' || activated || ' ' || state_changed || reason || hex(kcv) FROM versions ORDER BY key_id, number`,
		`SELECT hex(key_id), version || provider || kek_id || ' ' || kek_version, hex(blob) || created FROM wraps ORDER BY key_id, version, provider`,
		`SELECT seq || ' ' || hex(bytes), key || ' ' || version || type, reason || actor || time FROM events ORDER BY seq`,
		`SELECT idx, hex(hash), '' FROM log_hashes ORDER BY idx`,
	} {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			return nil
		}
		for rows.Next() {
			var a, b, c string
			if err := rows.Scan(&a, &b, &c); err != nil {
				break
			}
			all = append(all, a+" "+b+" "+c)
		}
		if errors.Join(rows.Err(), rows.Close()) != nil { //nolint:sqlclosecheck // whether that fails matters
			return nil
		}
	}
	return all
}

// patient is a wounded store, with what is known of it from before: values by token,
// and the digests of the keys' records.
type patient struct {
	vault
	name            string
	tokens, digests map[string]string
}

// examine lists the checks that fail.
func (p patient) examine(t *testing.T) []string {
	t.Helper()
	stored := doctor.SQLite(t.Context(), p.path, doctor.Circumstances{Providers: []string{"local"}, Deep: true, Now: time.Now()})
	var failed []string
	for _, f := range stored.Findings {
		if f.Status == doctor.Fail {
			failed = append(failed, f.Check)
		}
	}
	return failed
}

// use decrypts, encrypts and rotates, and answers what was refused.
func (p patient) use(t *testing.T) (errs []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	refused := func(what string, err error) {
		if errs = append(errs, err); !saysSo(err) {
			t.Errorf("%s: %s: %v", p.name, what, err)
		}
	}
	err := p.with(ctx, func(e *engine.Engine) error {
		for token, value := range p.tokens {
			if got, err := e.Decrypt(ctx, []byte(token), nil); err != nil {
				refused("decrypting", err)
			} else if string(got) != value {
				t.Errorf("%s: %q is answered for %q", p.name, got, value)
			}
		}
		for _, key := range keys {
			token, err := e.Encrypt(ctx, key, []byte("new"), nil)
			if err != nil {
				refused("encrypting", err)
				continue
			}
			if !strings.HasPrefix(string(token), "keyrotor:"+key+":v9:") {
				t.Errorf("%s: a value was encrypted to %s", p.name, token)
			}
			if got, err := e.Decrypt(ctx, token, nil); err != nil || string(got) != "new" {
				t.Errorf("%s: a new token opens to %q, %v", p.name, got, err)
			}
		}
		return nil
	})
	if err != nil {
		refused("opening and closing", err)
	}
	for _, key := range keys {
		before, unread := p.digest(ctx, key)
		if err := p.rotate(ctx, key); err != nil {
			refused("rotating", err)
		} else if unread != nil || before != p.digests[key] {
			t.Errorf("%s: key %q was rotated although its record is damaged", p.name, key)
		}
	}
	return errs
}

// digest is that of a key's record as it is stored.
func (v vault) digest(ctx context.Context, name string) (digest string, err error) {
	i, err := sqlite.Inspect(ctx, v.path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	c, err := i.Contents(ctx)
	if err != nil {
		return "", err
	}
	key, err := c.Key(ctx, name)
	if err != nil {
		return "", err
	}
	return key.Digest(c.ID()).String(), nil
}
