package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	pendingClaims check = "pending.claims"
	pendingLeases check = "pending.leases"
	pendingOutbox check = "pending.outbox"
)

// backlog is how old something may be that is to be delivered.
const backlog = time.Hour

// PendingReader is the part of a store that Pending reads.
type PendingReader interface {
	Intents(ctx context.Context) ([]store.Intent, error)
	Leases(ctx context.Context, now time.Time) (expired, open store.LeaseSum, err error)
	Outbox(ctx context.Context) ([]store.OutboxSum, error)
}

// Pending looks at what was begun and is not finished: claims, leases, deliveries.
func Pending(ctx context.Context, r PendingReader, now time.Time) []Finding {
	var findings []Finding
	if intents, err := r.Intents(ctx); err != nil {
		findings = append(findings, pendingClaims.fail("", err.Error(), restore))
	} else {
		findings = append(findings, claims(intents, now)...)
	}
	if expired, open, err := r.Leases(ctx, now); err != nil {
		findings = append(findings, pendingLeases.fail("", err.Error(), restore))
	} else {
		findings = append(findings, leases(expired, open))
	}
	sums, err := r.Outbox(ctx)
	if err != nil {
		return append(findings, pendingOutbox.fail("", err.Error(), restore))
	}
	return append(findings, outbox(sums, now)...)
}

// claims tells those at work from those that a process left behind.
func claims(intents []store.Intent, now time.Time) []Finding {
	var stale []Finding
	for _, in := range intents {
		var why string
		switch {
		case !now.Before(in.Expires):
			why = fmt.Sprintf("it expired %s ago", ageText(now.Sub(in.Expires)))
		case rotation.ParseOwner(in.Owner).Gone():
			why = "its process is gone"
		default:
			continue
		}
		stale = append(stale, pendingClaims.warn(in.Key,
			fmt.Sprintf("the claim of operation %q (%s), made at %s by %s, was left behind: %s", in.Kind, in.Operation, timeText(in.Started), in.Owner, why),
			again(in)))
	}
	if len(stale) > 0 {
		return stale
	}
	return []Finding{pendingClaims.ok("", "%s, none left behind", count(len(intents), "claim"))}
}

// again is how an operation that was cut off comes to its end. One that did nothing
// outside has nothing to clean up, and whoever comes next takes the claim over.
func again(in store.Intent) string {
	provider := strings.TrimPrefix(in.Key, "kek/")
	switch in.Kind {
	case "create":
		return fmt.Sprintf("nothing was changed; if the key is still wanted, run `keyrotor key create %s`", in.Key)
	case rotation.KindRotate:
		return fmt.Sprintf("nothing was changed; if the rotation is still wanted, run `keyrotor key rotate %s`", in.Key)
	case "rotate-kek":
		return fmt.Sprintf("run `keyrotor kek rotate %s`: it finds out how far that came, and finishes it", provider)
	case "rewrap-kek":
		return fmt.Sprintf("run `keyrotor kek rewrap %s`: it does what is left", provider)
	case "migrate":
		return fmt.Sprintf("run `keyrotor key migrate %s --from PROVIDER --to PROVIDER` again: it does what is left", in.Key)
	default:
		return fmt.Sprintf("run what began the operation %q on %q again", in.Kind, in.Key)
	}
}

func leases(expired, open store.LeaseSum) Finding {
	if expired.Leases == 0 {
		return pendingLeases.ok("", "%s of %s, none expired", count(open.Leases, "lease"), count(open.Uses, "use"))
	}
	return pendingLeases.warn("", fmt.Sprintf("%s of %s expired, the first at %s, and was not given back: a process was killed, or hangs",
		count(expired.Leases, "lease"), count(expired.Uses, "use"), timeText(expired.Oldest)),
		"nothing: they count as used, and the next encryption books them; look why the process ended if that was not meant")
}

func outbox(sums []store.OutboxSum, now time.Time) []Finding {
	var findings []Finding
	waiting := 0
	for _, s := range sums {
		why := ""
		if s.LastError != "" {
			why = "; the last error was: " + s.LastError
		}
		age := now.Sub(s.Oldest)
		switch {
		case s.State == "pending" && age > backlog:
			findings = append(findings, pendingOutbox.warn(s.State,
				fmt.Sprintf("%s waiting to be delivered, the oldest for %s%s", isAre(s.Rows, "row"), ageText(age), why),
				"look whether the process that delivers runs, and reaches its targets"))
		case s.State == "pending":
			waiting += s.Rows
		case s.State == "blocked":
			findings = append(findings, pendingOutbox.fail(s.State,
				fmt.Sprintf("%s refused by the target, the oldest for %s%s", isAre(s.Rows, "row"), ageText(age), why),
				"give the identity of this process the rights that the provider's page lists; delivery is tried again every hour"))
		case s.State == "terminal":
			findings = append(findings, pendingOutbox.warn(s.State,
				fmt.Sprintf("%s never delivered, because the target is gone%s", isAre(s.Rows, "row"), why),
				"nothing can be done for them; the history in the store has all events"))
		}
	}
	if len(findings) > 0 {
		return findings
	}
	return []Finding{pendingOutbox.ok("", "%s waiting to be delivered", isAre(waiting, "row"))}
}
