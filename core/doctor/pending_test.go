package doctor

import (
	"context"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// desk holds what was begun.
type desk struct {
	intents       []store.Intent
	expired, open store.LeaseSum
	outbox        []store.OutboxSum
	err           error
}

func (d desk) Intents(context.Context) ([]store.Intent, error) { return d.intents, d.err }

func (d desk) Leases(context.Context, time.Time) (expired, open store.LeaseSum, err error) {
	return d.expired, d.open, d.err
}

func (d desk) Outbox(context.Context) ([]store.OutboxSum, error) { return d.outbox, d.err }

// gone is a process of this machine that has ended.
func gone(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	o := rotation.CurrentOwner()
	o.PID = cmd.Process.Pid
	return o.String()
}

const (
	noClaims  = "ok pending.claims [] 0 claims, none left behind\n"
	noLeases  = "ok pending.leases [] 0 leases of 0 uses, none expired\n"
	noBacklog = "ok pending.outbox [] 0 rows are waiting to be delivered\n"
)

func TestPending(t *testing.T) {
	claim := func(kind, key, owner string, expires time.Duration) store.Intent {
		return store.Intent{Key: key, Kind: kind, Operation: "op7", Owner: owner, Started: noon.Add(-time.Hour), Expires: noon.Add(expires)}
	}
	const made = ", made at 2026-03-01T11:00:00Z by elsewhere/7/1, was left behind: it expired 30m ago\n"
	for name, c := range map[string]struct {
		desk desk
		want string
	}{
		"nothing": {desk{}, noClaims + noLeases + noBacklog},
		"at work": {desk{
			intents: []store.Intent{claim("rotate", "payments", "elsewhere/7/1", 1)},
			open:    store.LeaseSum{Leases: 2, Uses: 128},
			outbox: []store.OutboxSum{
				{State: "done", Rows: 9, Oldest: noon.Add(-72 * time.Hour)}, {State: "pending", Rows: 3, Oldest: noon.Add(-time.Hour)},
			},
		}, "ok pending.claims [] 1 claim, none left behind\nok pending.leases [] 2 leases of 128 uses, none expired\nok pending.outbox [] 3 rows are waiting to be delivered\n"},
		"expired claims": {desk{intents: []store.Intent{
			claim("create", "orders", "elsewhere/7/1", -30*time.Minute), claim("rotate", "payments", "elsewhere/7/1", -30*time.Minute),
			claim("rotate-kek", "kek/prod", "elsewhere/7/1", -30*time.Minute), claim("rewrap-kek", "kek/dr", "elsewhere/7/1", -30*time.Minute),
			claim("migrate", "logs", "elsewhere/7/1", -30*time.Minute), claim("later", "logs", "elsewhere/7/1", -30*time.Minute), claim("rotate", "fine", "elsewhere/7/1", time.Minute),
		}}, `
warn pending.claims [orders] the claim of operation "create" (op7)` + made + `  -> nothing was changed; if the key is still wanted, run ` + "`keyrotor key create orders`" + `
warn pending.claims [payments] the claim of operation "rotate" (op7)` + made + `  -> nothing was changed; if the rotation is still wanted, run ` + "`keyrotor key rotate payments`" + `
warn pending.claims [kek/prod] the claim of operation "rotate-kek" (op7)` + made + `  -> run ` + "`keyrotor kek rotate prod`" + `: it finds out how far that came, and finishes it
warn pending.claims [kek/dr] the claim of operation "rewrap-kek" (op7)` + made + `  -> run ` + "`keyrotor kek rewrap dr`" + `: it does what is left
warn pending.claims [logs] the claim of operation "migrate" (op7)` + made + `  -> run ` + "`keyrotor key migrate logs --from PROVIDER --to PROVIDER`" + ` again: it does what is left
warn pending.claims [logs] the claim of operation "later" (op7)` + made + `  -> run what began the operation "later" on "logs" again
` + noLeases + noBacklog},
		"expired leases": {desk{expired: store.LeaseSum{Leases: 1, Uses: 64, Oldest: noon}, open: store.LeaseSum{Leases: 2, Uses: 128}}, noClaims + `
warn pending.leases [] 1 lease of 64 uses expired, the first at 2026-03-01T12:00:00Z, and was not given back: a process was killed, or hangs
  -> nothing: they count as used, and the next encryption books them; look why the process ended if that was not meant
`[1:] + noBacklog},
		"backlog": {desk{outbox: []store.OutboxSum{
			{State: "blocked", Rows: 1, Oldest: noon.Add(-2 * time.Hour), LastError: "DENIED"},
			{State: "pending", Rows: 12, Oldest: noon.Add(-time.Hour - time.Minute), LastError: "UNAVAILABLE"},
			{State: "terminal", Rows: 2, Oldest: noon},
		}}, noClaims + noLeases + `
fail pending.outbox [blocked] 1 row is refused by the target, the oldest for 2h0m; the last error was: DENIED
  -> give the identity of this process the rights that the provider's page lists; delivery is tried again every hour
warn pending.outbox [pending] 12 rows are waiting to be delivered, the oldest for 1h1m; the last error was: UNAVAILABLE
  -> look whether the process that delivers runs, and reaches its targets
warn pending.outbox [terminal] 2 rows are never delivered, because the target is gone
  -> nothing can be done for them; the history in the store has all events
`[1:]},
		"damage": {desk{err: store.ErrCorrupt}, `
fail pending.claims [] the store is damaged
  -> RESTORE
fail pending.leases [] the store is damaged
  -> RESTORE
fail pending.outbox [] the store is damaged
  -> RESTORE
`},
	} {
		expect(t, name, Pending(t.Context(), c.desk, noon), c.want)
	}
}

// TestOwnerGone: a claim that has not expired is left behind once its process has
// ended.
func TestOwnerGone(t *testing.T) {
	in := store.Intent{Key: "payments", Kind: "rotate", Operation: "op7", Owner: gone(t), Started: noon, Expires: noon.Add(time.Minute)}
	want := noLeases + noBacklog
	if runtime.GOOS == "linux" {
		want = `warn pending.claims [payments] the claim of operation "rotate" (op7), made at 2026-03-01T12:00:00Z by ` + in.Owner + `, was left behind: its process is gone
  -> nothing was changed; if the rotation is still wanted, run ` + "`keyrotor key rotate payments`\n" + want
	} else { // nowhere else can that be told
		want = "ok pending.claims [] 1 claim, none left behind\n" + want
	}
	expect(t, "gone", Pending(t.Context(), desk{intents: []store.Intent{in}}, noon), want)

	in.Owner = rotation.CurrentOwner().String()
	expect(t, "alive", Pending(t.Context(), desk{intents: []store.Intent{in}}, noon),
		"ok pending.claims [] 1 claim, none left behind\n"+noLeases+noBacklog)
}
