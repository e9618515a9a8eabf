package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/notify"
)

// targetView is how it stands with a target. Its JSON form is stable.
type targetView struct {
	Name string `json:"name"`
	// Type is empty for one that the store knows and the config does not.
	Type string `json:"type"`
	// Types and Keys are what it wants to hear of; [] is everything.
	Types []notify.Type `json:"types"`
	Keys  []string      `json:"keys"`
	// Subscribed: the store keeps what happens for it.
	Subscribed bool `json:"subscribed"`
	// DeliveredBy is the process that does, empty if none does at the moment.
	DeliveredBy string `json:"delivered_by"`
	// Behind is what it is to be told and nobody has taken up yet.
	Behind  int `json:"behind"`
	Open    int `json:"open"`
	Failing int `json:"failing"`
	GivenUp int `json:"given_up"`
	// Oldest is since when the oldest open one waits; there is none without.
	Oldest    *time.Time `json:"oldest"`
	LastError string     `json:"last_error"`
}

func viewTarget(s core.TargetStatus) targetView {
	v := targetView{
		Name: s.Target, Type: s.Type, Types: s.Types, Keys: s.Keys, Subscribed: s.Subscribed, DeliveredBy: s.Owner,
		Behind: s.Behind, Open: s.Open, Failing: s.Failing, GivenUp: s.GivenUp, LastError: s.LastError,
	}
	if v.Types == nil {
		v.Types = []notify.Type{}
	}
	if v.Keys == nil {
		v.Keys = []string{}
	}
	if !s.Oldest.IsZero() {
		v.Oldest = new(s.Oldest.UTC())
	}
	return v
}

func (a *app) notifyCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "notify",
		Short: "Tell others what happens to keys, and see whether they hear it",
		Long: `Tell others what happens to keys: the targets of the notify blocks in the config, which
are webhooks, commands and logs. 'keyrotor serve' delivers to them all the time, and so
does a service that starts its notifier; on a machine without either, run 'keyrotor
notify deliver' from time to time.`,
		Example: `  keyrotor notify list
  keyrotor notify test ops
  keyrotor notify deliver --timeout 1m`,
	}, a.notifyList(), a.notifyTest(), a.notifyDeliver())
}

func (a *app) notifyList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List who is told, and how far that has come",
		Long: `List the targets of the notify blocks, and those that the store keeps things for and the
config does not have: which process delivers, how many notices are open, how many of
these were tried in vain, since when the oldest waits, how many were given up in the
last 30 days, and what went wrong last.

BEHIND counts what was committed and not taken up yet by anybody who delivers. A target
for which nothing is open needs nobody who delivers.`,
		Example: `  keyrotor notify list
  keyrotor notify list -o json | jq '.targets[] | select(.failing > 0)'`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				statuses, err := kr.Targets(ctx)
				if err != nil {
					return err
				}
				views := make([]targetView, 0, len(statuses))
				for _, s := range statuses {
					views = append(views, viewTarget(s))
				}
				if a.JSON {
					return a.Answer(map[string][]targetView{"targets": views})
				}
				return a.tabulateTargets(views, time.Now().UTC())
			})
		},
	}
}

func (a *app) tabulateTargets(views []targetView, now time.Time) error {
	if len(views) == 0 {
		a.Hint("Nobody is told anything: the config has no notify block")
		return nil
	}
	var rows [][]string
	for _, v := range views {
		typ, oldest := v.Type, "-"
		if typ == "" {
			typ = "not in the config"
		}
		if v.Oldest != nil {
			oldest = when(*v.Oldest, now)
		}
		rows = append(rows, []string{
			v.Name, typ, selectionText(v), dash(v.DeliveredBy), strconv.Itoa(v.Behind), strconv.Itoa(v.Open),
			strconv.Itoa(v.Failing), strconv.Itoa(v.GivenUp), oldest, dash(v.LastError),
		})
	}
	return a.Table([]string{"NAME", "TYPE", "HEARS OF", "DELIVERED BY", "BEHIND", "OPEN", "FAILING", "GIVEN UP", "OLDEST", "LAST ERROR"}, rows)
}

// selectionText says what a target wants to hear of.
func selectionText(v targetView) string {
	if v.Type == "" {
		return "-"
	}
	text := "everything"
	if len(v.Types) > 0 {
		names := make([]string, len(v.Types))
		for i, t := range v.Types {
			names[i] = string(t)
		}
		text = strings.Join(names, ",")
	}
	if len(v.Keys) > 0 {
		text += " of " + strings.Join(v.Keys, ",")
	}
	return text
}

// testView is the answer of notify test.
type testView struct {
	Target    string `json:"target"`
	Delivered bool   `json:"delivered"`
	Error     string `json:"error,omitempty"`
}

func (a *app) notifyTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME",
		Short: "Send a test notice to a target, now",
		Long: `Send a notice of the type "test" to a target of the config, now and once, and say what
became of it. It is signed as every other is, and stands in no history. What a webhook
answers instead of yes is shown if it is one short line without a secret of the block in
it, and so is the first line that a command complains with.

The exit code is 1 if the target did not take it.`,
		Example: `  keyrotor notify test ops
  keyrotor notify test ops -o json`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeTarget,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.logNotices()
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				err := kr.Notifier.Test(ctx, args[0])
				if errors.Is(err, notify.ErrUnknownTarget) || ctx.Err() != nil {
					return err
				}
				view := testView{Target: args[0], Delivered: err == nil}
				if err != nil {
					view.Error = err.Error()
				}
				switch {
				case a.JSON:
					if err := a.Answer(view); err != nil {
						return err
					}
				case err == nil:
					return a.Printf("%s took the test notice\n", args[0])
				}
				if err != nil {
					return fmt.Errorf("%w: %s did not take the test notice: %w", errUndelivered, args[0], err)
				}
				return nil
			})
		},
	}
}

// errUndelivered: a target did not take what it was told.
var errUndelivered = errors.New("not delivered")

func (a *app) notifyDeliver() *cobra.Command {
	return &cobra.Command{
		Use:   "deliver",
		Short: "Deliver what is due to all targets, and end",
		Long: `Deliver what is due to all targets of the config, and end: for machines on which neither
'keyrotor serve' nor a service of your own delivers, e.g. from cron. A target to which
another process delivers now is left to that.

What a target does not take is tried again by the next run when its time has come, after
a second at first and every five minutes at last. --timeout bounds the whole run.

` + exitCodesNote,
		Example: `  keyrotor notify deliver
  keyrotor notify deliver --timeout 1m -o json`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.logNotices()
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				report, err := kr.Notifier.Deliver(ctx)
				if len(report.Targets) == 0 && err != nil {
					return err
				}
				if err := a.showDeliveries(report); err != nil {
					return err
				}
				left := 0
				for _, t := range report.Targets {
					left += t.Open
				}
				if left > 0 && (err == nil || ctx.Err() != nil) {
					return &partlyError{count(left, "notice") + " left to deliver"}
				}
				return err
			})
		},
	}
}

func (a *app) showDeliveries(report notify.Report) error {
	if report.Targets == nil {
		report.Targets = []notify.TargetReport{}
	}
	if a.JSON {
		return a.Answer(report)
	}
	if len(report.Targets) == 0 {
		a.Hint("Nobody is told anything: the config has no notify block")
		return nil
	}
	var rows [][]string
	for _, t := range report.Targets {
		rows = append(rows, []string{
			t.Target, strconv.Itoa(t.Delivered), strconv.Itoa(t.Failed), strconv.Itoa(t.GivenUp), strconv.Itoa(t.Open), dash(t.HeldBy), dash(t.Error),
		})
	}
	return a.Table([]string{"NAME", "DELIVERED", "FAILED", "GIVEN UP", "LEFT", "LEFT TO", "ERROR"}, rows)
}

// logNotices has the lines of a target come out that goes to this process's log, which a
// command does not show by default. Who turns logs off turns these off, too.
func (a *app) logNotices() {
	folder, err := a.pluginFolder()
	if err != nil { // which the command will say
		return
	}
	for _, n := range folder.config.Notify {
		level, on := logLevels()[a.global.logLevel.value]
		if n.Type == config.NotifyLog && n.Path == "" && on && level > slog.LevelInfo {
			a.log = a.Logger(slog.LevelInfo)
		}
	}
}

// completeTarget completes one target's name.
func (a *app) completeTarget(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	folder, err := a.pluginFolder()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, n := range folder.config.Notify {
		names = append(names, n.Name+"\t"+n.Type)
	}
	return unless(len(args) > 0, names)
}
