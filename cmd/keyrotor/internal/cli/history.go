package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitchellh/go-wordwrap"
	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
)

func (a *app) historyCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "history",
		Short: "Read what happened to the keys",
		Example: `  keyrotor history list --key payments
  keyrotor history show 42
  keyrotor history stats --since 30d`,
	}, a.historyList(), a.historyShow(), a.historyStats(), a.historyPrune())
}

func (a *app) historyList() *cobra.Command {
	var (
		q            history.Query
		since, until moment
		version      versionFlag
	)
	eventType, reason := newChoice("", typeNames()...), newChoice("", reasonNames()...)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events, the newest first",
		Long: `List events, the newest first. In JSON they come as they are stored, byte for byte,
with the cursor of the next page in "next" (0 on the last one) for --before.

A TIME is RFC 3339, e.g. 2026-03-01T12:00:00Z, a day in UTC, e.g. 2026-03-01, or how
long ago, e.g. 36h or 7d.

A TYPE is one of
` + indented(typeNames()) + `
A REASON is one of
` + indented(reasonNames()),
		Example: `  keyrotor history list --key payments
  keyrotor history list --type rotation --since 90d -o json`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 {
				return misuse(cmd, "--limit is %d, which is less than 1", q.Limit)
			}
			if err := checkFilters(cmd, since, until); err != nil {
				return err
			}
			q.Version, q.Type, q.Reason = uint32(version), history.Type(eventType.value), reason.value
			q.Since, q.Until = since.Time, until.Time
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				page, err := kr.History(ctx, q)
				if err != nil {
					return err
				}
				return a.showHistory(page)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&q.Key, "key", "", "events of this key (`NAME`)")
	flags.Var(&version, "version", "events of this key version")
	flags.Var(&eventType, "type", "events of this `TYPE`")
	flags.Var(&reason, "reason", "events with this `REASON`")
	flags.StringVar(&q.Actor, "actor", "", "events by this actor (`USER@HOST`)")
	flags.StringVar(&q.Operation, "operation", "", "events of this operation (`ID`)")
	flags.Var(&since, "since", "events from this time on")
	flags.Var(&until, "until", "events before this time")
	flags.IntVar(&q.Limit, "limit", history.DefaultLimit, "list at most `N` events")
	flags.Uint64Var(&q.Before, "before", 0, "events older than event number `SEQ`")
	completeFlag(cmd, "key", a.completeKey)
	completeChoice(cmd, "type", &eventType)
	completeChoice(cmd, "reason", &reason)
	return cmd
}

func typeNames() []string {
	var names []string
	for _, t := range history.Types() {
		names = append(names, string(t))
	}
	return names
}

func reasonNames() []string {
	var names []string
	for _, r := range keyring.Reasons() {
		names = append(names, string(r))
	}
	return names
}

// indented sets names as a block of the help.
func indented(names []string) string {
	text := wordwrap.WrapString(strings.Join(names, ", "), 80)
	return "  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
}

func (a *app) showHistory(page history.Page) error {
	if a.JSON {
		return a.Answer(struct {
			Events []json.RawMessage `json:"events"`
			Next   uint64            `json:"next"`
		}{append([]json.RawMessage{}, page.Events...), page.Next})
	}
	var rows [][]string
	for _, raw := range page.Events {
		e, err := history.Decode(raw)
		if err != nil {
			return err
		}
		rows = append(rows, eventRow(e))
	}
	if len(rows) == 0 {
		a.Hint("No events.")
		return nil
	}
	if err := a.Table([]string{"SEQ", "TIME", "TYPE", "KEY", "VERSION", "REASON", "ACTOR", "NOTE"}, rows); err != nil {
		return err
	}
	if page.Next > 0 {
		a.Hint("There are older events: --before %d", page.Next)
	}
	return nil
}

// versions says which version an event is about, or between which it changed.
func versions(e history.Event) string {
	switch from, to := e.PreviousVersion, e.Version; {
	case from > 0 && to > 0:
		return fmt.Sprintf("v%d to v%d", from, to)
	case from > 0 || to > 0: // a rotation that failed leads from one, and to none
		return keyring.VersionLabel(max(from, to))
	default:
		return ""
	}
}

func eventRow(e history.Event) []string {
	remarks := []string{what(e), e.Note}
	remarks = slices.DeleteFunc(remarks, func(s string) bool { return s == "" })
	return []string{
		strconv.FormatUint(e.Seq, 10), timeText(e.Time), string(e.Type), dash(e.Key), dash(versions(e)),
		dash(e.Reason), e.Actor, strings.Join(remarks, "; "),
	}
}

// what says what an event did, where its type leaves that open.
func what(e history.Event) string {
	switch {
	case e.Type == history.Degraded || e.Type == history.Recovered:
		return aboutProvider(e)
	case e.ErrorCode != "":
		return "error " + e.ErrorCode
	case e.Details["from"] != "" && e.Details["to"] != "":
		return e.Details["from"] + " to " + e.Details["to"]
	case e.Details["due"] != "" && e.Type == history.DestroyScheduled:
		return "due " + e.Details["due"]
	case e.Type == history.Pruned:
		return fmt.Sprintf("%d of the first %s events taken out", e.Count, e.Details["through"])
	case e.Details["forced"] != "":
		return "forced"
	default:
		return ""
	}
}

// aboutProvider is what an event about a key manager says.
func aboutProvider(e history.Event) string {
	text := "provider " + e.Provider
	if e.Details["revoked"] != "" {
		text += ", access"
		if e.KEKVersion != "" {
			text += " to version " + e.KEKVersion + " of its key"
		}
	}
	if e.ErrorCode != "" {
		text += ", error " + e.ErrorCode
	}
	if until := e.Details["until"]; until != "" {
		text += ", works until " + until
	}
	if e.Details["unused"] != "" {
		text += ", not needed any more"
	}
	return text
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// moment is a point in time as a flag.
type moment struct{ time.Time }

// String implements pflag.Value.
func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type implements pflag.Value.
func (m *moment) Type() string { return "TIME" }

// Set implements pflag.Value.
func (m *moment) Set(s string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			m.Time = t
			return nil
		}
	}
	ago, err := parseSpan(s)
	if err != nil {
		return fmt.Errorf("it is a time like 2026-03-01T12:00:00Z, a day like 2026-03-01, or how long ago, like 36h or 7d")
	}
	m.Time = time.Now().Add(-ago)
	return nil
}

// checkFilters refuses a time in which nothing can be, and an empty name: what comes of a
// variable that a shell does not know asks for something, and not for everything.
func checkFilters(cmd *cobra.Command, since, until moment) error {
	for _, name := range []string{"key", "actor", "operation"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return misuse(cmd, "--%s is empty: leave it out for all events", name)
		}
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until.Time) {
		return misuse(cmd, "--since %s is not before --until %s", since.String(), until.String())
	}
	return nil
}

// parseSpan reads a length of time, in days, too.
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		return 0, strconv.ErrRange
	}
	return d, err
}
