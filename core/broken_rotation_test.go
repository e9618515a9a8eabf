package core_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// lastEvent appends an event of the key "payments".
func lastEvent(e history.Event) func(*sqlite.Store) error {
	return func(s *sqlite.Store) error {
		_, err := s.Update(context.Background(), store.Update{
			Name: "payments", Apply: func(*keyring.Record) ([]history.Event, error) { return []history.Event{e}, nil },
		})
		return err
	}
}

// ended is the owner that a process was that is gone.
func ended(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	o := rotation.CurrentOwner()
	o.PID = cmd.Process.Pid
	return o.String()
}

func brokenRotations() map[string]func(*testing.T, patient) []expected {
	const month = "key \"payments\" {\n  rotation {\n    max_age = \"30d\"\n  }\n}\n"
	// checks are what a scheduler that is at work has on record.
	checks := func(interval time.Duration, list ...store.PolicyCheck) func(*sqlite.Store) error {
		return func(s *sqlite.Store) error {
			now := time.Now()
			for i := range list {
				list[i].Checked = now
			}
			return s.RecordChecks(context.Background(), store.SchedulerCheck{Owner: "elsewhere/7/1", Started: now, Interval: interval, Checked: now, Keys: 1}, list)
		}
	}
	return map[string]func(*testing.T, patient) []expected{
		"key in the config alone": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "key \"payment\" {\n  hard_limit = 7\n}\n")
			return []expected{{
				doctor.Warn, "rotation.configured", "payment", "the config has a block for this key, and there is no such key",
				"run `keyrotor key create payment`, or correct the name of the block",
			}}
		},
		"another config at work": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, month)
			p.onStore(t, nil, checks(time.Minute, store.PolicyCheck{Key: "payments", Policy: "max_age", Next: time.Now().AddDate(1, 0, 0)}))
			return []expected{{
				doctor.Warn, "rotation.configured", "payments", "by this config (every 30 days) it is due next at ",
				"have the process load this config: SIGHUP for `keyrotor serve`, a restart for another",
			}}
		},
		"another interval at work": func(t *testing.T, p patient) []expected {
			p.onStore(t, nil, checks(time.Hour))
			return []expected{{
				doctor.Warn, "rotation.scheduler", "elsewhere/7/1", "it checks policies every 1h0m0s, and the config says 1m0s",
				"have it load this config (SIGHUP for `keyrotor serve`), unless it was started with an interval of its own",
			}}
		},
		"rotation failed": func(t *testing.T, p patient) []expected {
			p.onStore(t, nil, lastEvent(history.Event{Type: history.RotationFailed, Actor: "ops@host", ErrorCode: "denied"}))
			return []expected{{
				doctor.Warn, "rotation.errors", "payments", "1 rotation failed with the code denied, the last at ",
				"give the identity of the provider the rights that its page lists, and look whether its credentials are valid; then run `keyrotor key rotate payments`",
			}}
		},
		"key manager away": func(t *testing.T, p patient) []expected {
			p.onStore(t, nil, func(s *sqlite.Store) error {
				return s.Append(context.Background(), nil, []history.Event{{
					Type: history.Degraded, Actor: "billing", Operation: "op7", Provider: "local", ErrorCode: "UNAVAILABLE", Count: 1,
					Details: map[string]string{"process": "elsewhere/7/1"},
				}})
			})
			return []expected{{
				doctor.Warn, "rotation.outages", "local", "it fails process elsewhere/7/1 of billing, with the code unavailable; 1 key is affected",
				"run `keyrotor provider check local`; the process goes on by itself when the key manager answers",
			}}
		},
		"retention by nobody": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "history {\n  retention = \"8d\"\n}\n")
			p.onStore(t, nil, func(s *sqlite.Store) error {
				return s.Append(context.Background(), nil, []history.Event{{Type: history.Access, Actor: "billing", Time: time.Now().AddDate(0, 0, -10)}})
			})
			return []expected{{
				doctor.Warn, "history.retention", "", "1 event is older than the 8 days that the config keeps them, the oldest of ",
				"run `keyrotor serve` as a service, or start the scheduler of one of your own, whose log tells why if that fails; else run `keyrotor history prune` once a day",
			}}
		},
		"uses of a dead process": func(t *testing.T, p patient) []expected {
			p.onStore(t, nil, func(s *sqlite.Store) error {
				_, err := s.Acquire(context.Background(), store.LeaseRequest{Key: "payments", Owner: ended(t), Count: 64, TTL: time.Minute})
				return err
			})
			return []expected{{
				doctor.Warn, "key.leases", "payments", "64 uses are held by 1 process that ended without giving them back, and count as used",
				"look why; a process that is killed over and over uses a key up",
			}}
		},
		"version of tomorrow": func(t *testing.T, p patient) []expected {
			tomorrow := time.Now().Add(24 * time.Hour).UTC()
			p.onStore(t, func() time.Time { return tomorrow }, func(s *sqlite.Store) error {
				_, err := s.Update(context.Background(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
					v := r.Versions[1]
					v.Number, v.Label, v.Created = 3, "v3", tomorrow
					return []history.Event{{Type: history.Creation, Version: 3}}, errors.Join(r.AddVersion(v), r.SetPrimary(3, tomorrow))
				}})
				return err
			})
			return []expected{
				{
					doctor.Warn, "key.clock", "payments", "version 3 was made or activated at " + tomorrow.Format(time.RFC3339) + ", which is ",
					"set the clocks of all machines (e.g. `timedatectl status`), then run `keyrotor key rotate payments` if the key must not wait so long",
				},
				{
					doctor.Fail, "history.clock", "", "event 4 is dated " + tomorrow.Format(time.RFC3339) + ", which is ",
					"set this machine's clock (e.g. `timedatectl status`): claims and leases expire by it",
				},
			}
		},
	}
}
