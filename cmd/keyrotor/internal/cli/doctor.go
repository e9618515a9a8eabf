package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/doctor"
)

// examinationView is the answer of doctor. Its JSON form is stable.
type examinationView struct {
	Findings []doctor.Finding `json:"findings"`
	OK       int              `json:"ok"`
	Warnings int              `json:"warnings"`
	Failed   int              `json:"failed"`
	Skipped  int              `json:"skipped"`
}

func (a *app) doctorCommand() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do about it",
		Long: `Look for what is wrong: in the config and who may read it, the plugins and their
pins, the key managers, the store and its file, every key's record and wraps, the
history and its tree, what was begun and not finished, the policies and who checks
them, what failed in the last week, and this process. Each finding says what was seen
and what to do next. Nothing is changed.

It works where other commands give up: a part that cannot be reached is listed as
such, and the rest is looked at all the same.

--deep has the providers wrap and unwrap a value, which some key managers charge
for, and compares the database's indexes with its tables, which takes longer.

The exit code is 1 if something failed; warnings do not count.`,
		Example: `  keyrotor doctor
  keyrotor doctor --deep -o json`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := a.configPath()
			if err != nil {
				return err
			}
			report, err := core.Opener{Log: a.log, Reattach: a.reattach}.Examine(cmd.Context(), path, deep)
			if err != nil {
				return err
			}
			return a.showExamination(report)
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "wrap and unwrap a value, and compare the indexes as well")
	return cmd
}

func (a *app) showExamination(report doctor.Report) error {
	v := examinationView{
		Findings: report.Findings,
		OK:       report.Count(doctor.OK), Warnings: report.Count(doctor.Warn),
		Failed: report.Count(doctor.Fail), Skipped: report.Count(doctor.Skipped),
	}
	show := a.writeFindings
	if a.JSON {
		show = func(v examinationView) error { return a.Answer(v) }
	}
	if err := show(v); err != nil {
		return err
	}
	if v.Failed > 0 {
		return fmt.Errorf("%w: %d of %s failed", errUnhealthy, v.Failed, count(len(v.Findings), "check"))
	}
	return nil
}

// writeFindings writes the findings by group, what was seen and what to do below it.
func (a *app) writeFindings(v examinationView) error {
	var b strings.Builder
	group := ""
	for _, f := range v.Findings {
		if f.Group() != group {
			group = f.Group()
			fmt.Fprintln(&b, a.Heading(group))
		}
		fmt.Fprintf(&b, "  %s %s%s\n", a.Mark(mark(f.Status)), titled(f), console.Printable(f.Evidence))
		if f.Next != "" {
			fmt.Fprintf(&b, "    next: %s\n", console.Printable(f.Next))
		}
	}
	return a.Printf("%s%s: %d ok, %s, %d failed, %d skipped\n", b.String(),
		count(len(v.Findings), "check"), v.OK, count(v.Warnings, "warning"), v.Failed, v.Skipped)
}

// titled is what stands in front of the evidence. The heading names the group.
func titled(f doctor.Finding) string {
	name := strings.TrimPrefix(strings.TrimPrefix(f.Check, f.Group()), ".")
	if f.Subject != "" {
		name += " " + console.Printable(f.Subject)
	}
	if name == "" {
		return ""
	}
	return name + ": "
}

func mark(s doctor.Status) console.Mark {
	switch s {
	case doctor.OK:
		return console.Good
	case doctor.Warn:
		return console.Doubt
	case doctor.Fail:
		return console.Bad
	default:
		return console.Unasked
	}
}
