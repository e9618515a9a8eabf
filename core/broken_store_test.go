package core_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

func brokenStores() map[string]func(*testing.T, patient) []expected {
	contents := []string{"key", "history", "pending", "rotation", "notify"}
	noWraps := expected{doctor.Skipped, "provider.wraps", "local", "the store's keys cannot be read", ""}
	unreadable := unread("the store cannot be read", contents...)
	return map[string]func(*testing.T, patient) []expected{
		"store gone": func(t *testing.T, p patient) []expected {
			remove(t, p.file("keyrotor.db"))
			return append([]expected{noWraps, {
				doctor.Fail, "store.file", p.file("keyrotor.db"), "the store does not exist",
				"mount it, or `keyrotor backup restore FILE` brings it back; if there never was one, `keyrotor key create NAME` makes one with its first key",
			}}, unreadable...)
		},
		"store of another program": func(t *testing.T, p patient) []expected {
			p.exec(t, `PRAGMA application_id = 7`)
			return append([]expected{noWraps, {
				doctor.Fail, "store.readable", p.file("keyrotor.db"), "another program's SQLite database", `correct "path" in the config's storage block`,
			}}, unreadable...)
		},
		"store empty": func(t *testing.T, p patient) []expected {
			if err := os.Truncate(p.file("keyrotor.db"), 0); err != nil {
				t.Fatal(err)
			}
			return append([]expected{noWraps, {doctor.Fail, "store.readable", p.file("keyrotor.db"), "the file is empty", restoreIt}}, unreadable...)
		},
		"store newer": func(t *testing.T, p patient) []expected {
			p.exec(t, `INSERT INTO migrations SELECT max(number) + 1, '9999_more.sql', sha256, 0 FROM migrations`)
			return append([]expected{noWraps, {
				doctor.Fail, "store.schema", p.file("keyrotor.db"), "it has migration 9999_more.sql", "use the build that wrote it, or a newer one",
			}}, unreadable...)
		},
		"store older": func(t *testing.T, p patient) []expected {
			copyFile(t, filepath.Join("store", "sqlite", "testdata", "v1.db"), p.file("keyrotor.db"), 0o600)
			return append([]expected{noWraps, {
				doctor.Warn, "store.schema", p.file("keyrotor.db"), "it has 1 of the ",
				"back it up; then any command that opens it brings it up to date, e.g. `keyrotor key list`",
			}}, unreadable...)
		},
		"no identity": func(t *testing.T, p patient) []expected {
			p.exec(t, `DELETE FROM meta`)
			return append([]expected{noWraps, {
				doctor.Fail, "store.readable", p.file("keyrotor.db"), "the store's own id is gone", restoreIt,
			}}, unreadable...)
		},
		"store open to others": func(t *testing.T, p patient) []expected {
			chmod(t, p.file("keyrotor.db"), 0o640)
			return []expected{{doctor.Fail, "store.permissions", p.file("keyrotor.db"), "mode 0640 lets other users at it", "chmod 600 " + p.file("keyrotor.db")}}
		},
		"draft left behind": func(t *testing.T, p patient) []expected {
			return []expected{left(t, p.file(".keyrotor.db.new-7"), "store.leftovers")}
		},
		"index twisted": func(t *testing.T, p patient) []expected {
			redefine := func(column string) {
				p.exec(t, `PRAGMA writable_schema = on`,
					`UPDATE sqlite_schema SET sql = 'CREATE INDEX events_by_type ON events (`+column+`)' WHERE name = 'events_by_type'`)
			}
			redefine("actor")
			p.exec(t, `REINDEX events_by_type`)
			redefine("type")
			return []expected{{
				doctor.Fail, "store.integrity", p.file("keyrotor.db"), "row 1 missing from index events_by_type", restoreIt,
			}}
		},
		"trigger added": func(t *testing.T, p patient) []expected {
			p.exec(t, `CREATE TRIGGER forget AFTER INSERT ON events BEGIN DELETE FROM leases; END`)
			return []expected{{
				doctor.Fail, "store.schema", p.file("keyrotor.db"), "trigger forget does not belong there", findOut,
			}}
		},
		"reference broken": func(t *testing.T, p patient) []expected {
			p.exec(t, `INSERT INTO attempts VALUES (zeroblob(16), 1, 1, 0)`)
			return []expected{{
				doctor.Fail, "store.references", p.file("keyrotor.db"), "a row of attempts refers to one of versions that does not exist", restoreIt,
			}}
		},
	}
}

func brokenContents() map[string]func(*testing.T, patient) []expected {
	claim := func(owner string, ttl time.Duration) func(*sqlite.Store) error {
		return func(s *sqlite.Store) error {
			_, err := s.Begin(context.Background(), store.Claim{Key: "payments", Kind: "rotate", Operation: "op7", Owner: owner, TTL: ttl})
			return err
		}
	}
	const again = "nothing was changed; if the rotation is still wanted, run `keyrotor key rotate payments`"
	return map[string]func(*testing.T, patient) []expected{
		"record edited": func(t *testing.T, p patient) []expected {
			p.exec(t, `UPDATE keys SET min_decrypt_version = 1`)
			return []expected{{doctor.Fail, "key.record", "payments", "integrity check failed: the stored record of key \"payments\" has digest v1:", findOut}}
		},
		"provider renamed": func(t *testing.T, p patient) []expected {
			replaceIn(t, p.config, `provider "local" "local"`, `provider "local" "main"`)
			lost := expected{
				doctor.Fail, "key.wraps", "payments", "is wrapped by local alone, which the config does not have",
				"add the block of provider local to the config again",
			}
			return []expected{lost, lost, {
				doctor.Fail, "key.providers", "payments", `its rotation wraps with provider "local", which the config does not have`,
				`add the block of provider "local" to the config again`,
			}}
		},
		"uses over half": func(t *testing.T, p patient) []expected {
			p.exec(t, `UPDATE versions SET used = 2147483649 WHERE number = 2`)
			return []expected{{doctor.Warn, "key.uses", "payments", "version 2 has 2147483649 of 4294967296 uses", "run `keyrotor key rotate payments`"}}
		},
		"event dropped": func(t *testing.T, p patient) []expected {
			p.exec(t, `DELETE FROM events WHERE seq = 2`)
			return []expected{
				{doctor.Fail, "history.sequence", "", "event 2 is missing: the next one there is 3", findOut},
				{doctor.Skipped, "history.tree", "", "an event is missing", ""},
			}
		},
		"event edited": func(t *testing.T, p patient) []expected {
			p.exec(t, `UPDATE events SET bytes = CAST(replace(CAST(bytes AS TEXT), '"reason":"initial"', '"reason":"manual"') AS BLOB), reason = 'manual' WHERE seq = 1`)
			return []expected{{
				doctor.Fail, "history.tree", "", "the bytes of event 1 do not make the leaf that the tree has", findOut,
			}}
		},
		"event hidden": func(t *testing.T, p patient) []expected {
			p.exec(t, `UPDATE events SET actor = 'nobody' WHERE seq = 2`)
			return []expected{{
				doctor.Fail, "history.columns", "", "event 2 has another actor than its bytes", findOut,
			}}
		},
		"tree torn": func(t *testing.T, p patient) []expected {
			p.exec(t, `DELETE FROM log_hashes WHERE idx = 2`)
			return []expected{{doctor.Fail, "history.tree", "", "hash 2 of the history is missing", restoreIt}}
		},
		"event of tomorrow": func(t *testing.T, p patient) []expected {
			tomorrow := time.Now().Add(24 * time.Hour)
			p.onStore(t, func() time.Time { return tomorrow }, func(s *sqlite.Store) error {
				return s.Append(context.Background(), nil, []history.Event{{Type: history.Restored, Actor: "alice@host"}})
			})
			return []expected{{
				doctor.Fail, "history.clock", "", "event 4 is dated " + tomorrow.UTC().Format(time.RFC3339) + ", which is ",
				"set this machine's clock (e.g. `timedatectl status`): claims and leases expire by it",
			}}
		},
		"claim expired": func(t *testing.T, p patient) []expected {
			past := time.Now().Add(-time.Hour)
			p.onStore(t, func() time.Time { return past }, claim("elsewhere/7/1", time.Minute))
			return []expected{{doctor.Warn, "pending.claims", "payments", "was left behind: it expired ", again}}
		},
		"claim of a dead process": func(t *testing.T, p patient) []expected {
			cmd := exec.CommandContext(t.Context(), "true")
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			owner := rotation.CurrentOwner()
			owner.PID = cmd.Process.Pid
			p.onStore(t, nil, claim(owner.String(), time.Hour))
			return []expected{{doctor.Warn, "pending.claims", "payments", "was left behind: its process is gone", again}}
		},
		"claim of a live process": func(t *testing.T, p patient) []expected {
			p.onStore(t, nil, claim(rotation.CurrentOwner().String(), time.Hour))
			return nil
		},
		"lease expired": func(t *testing.T, p patient) []expected {
			past := time.Now().Add(-time.Hour)
			p.onStore(t, func() time.Time { return past }, func(s *sqlite.Store) error {
				_, err := s.Acquire(context.Background(), store.LeaseRequest{Key: "payments", Owner: "elsewhere/7/1", Count: 64, TTL: time.Minute})
				return err
			})
			return []expected{{
				doctor.Warn, "pending.leases", "", "1 lease of 64 uses expired",
				"nothing: they count as used, and the next encryption books them; look why the process ended if that was not meant",
			}}
		},
		"backlog": func(t *testing.T, p patient) []expected {
			p.exec(t, fmt.Sprintf(`INSERT INTO outbox (topic, target, order_key, idempotency_id, payload, created, state, next_attempt, last_error)
				VALUES ('mirror', 'local', '', '1', x'', %d, 'pending', 0, 'THROTTLED')`, time.Now().Add(-2*time.Hour).UnixMicro()))
			return []expected{{
				doctor.Warn, "pending.outbox", "pending", "1 row is waiting to be delivered, the oldest for ",
				"look whether the process that delivers runs, and reaches its targets",
			}}
		},
	}
}

func replaceIn(t *testing.T, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
