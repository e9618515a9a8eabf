package cli

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// usageView is how often a key was used. Its JSON form is stable.
type usageView struct {
	Key       string `json:"key"`
	Primary   uint32 `json:"primary"`
	HardLimit uint64 `json:"hard_limit"`
	// MaxUses is that of the key's policies, 0 if none counts uses.
	MaxUses uint64 `json:"max_uses"`
	// Pace is the primary's, null if there is none or it is too new to tell.
	Pace *paceView `json:"pace"`
	// Versions are the newest first.
	Versions []versionUsageView `json:"versions"`
}

type paceView struct {
	Since  time.Time `json:"since"`
	PerDay float64   `json:"uses_per_day"`
	// LimitReached is null if it is over a hundred years away.
	LimitReached *time.Time `json:"limit_reached"`
}

type versionUsageView struct {
	Version     uint32        `json:"version"`
	State       keyring.State `json:"state"`
	Primary     bool          `json:"primary"`
	Created     time.Time     `json:"created"`
	Uses        uint64        `json:"uses"`
	Reencrypted uint64        `json:"reencrypted"`
	Leased      uint64        `json:"leased"`
	Processes   int           `json:"processes"`
	// Share of the hard limit, from 0 to 1, or more after the limit was lowered.
	Share float64 `json:"share"`
}

func (a *app) usageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "usage [KEY]",
		Short: "Show how often keys were used, and how far that goes",
		Long: `Show how often the versions of a key were used, or without KEY the primary of every
key: an encryption is a use for each MiB that it begins. At the hard limit a version
stops encrypting until the key is rotated ('keyrotor key set --hard-limit').

Processes lease uses ahead, so that no crash loses count: those on lease may be used
or not, and count. What re-encryption had counts towards the hard limit, and towards no
policy. The pace is that of the primary since it was made.`,
		Example: `  keyrotor usage
  keyrotor usage payments
  keyrotor usage payments -o json | jq .pace.limit_reached`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				if len(args) == 0 {
					return a.usageOfAll(ctx, kr)
				}
				u, err := kr.Usage(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showUsage(u)
			})
		},
	}
}

func viewUsage(u engine.Usage) usageView {
	view := usageView{
		Key: u.Key, Primary: u.Primary, HardLimit: u.HardLimit, MaxUses: u.MaxUses,
		Versions: make([]versionUsageView, 0, len(u.Versions)),
	}
	if u.PerDay > 0 {
		view.Pace = &paceView{Since: u.Since.UTC(), PerDay: u.PerDay}
		if !u.LimitReached.IsZero() {
			view.Pace.LimitReached = new(u.LimitReached.UTC())
		}
	}
	for _, v := range u.Versions {
		view.Versions = append(view.Versions, versionUsageView{
			Version: v.Version, State: v.State, Primary: v.Version == u.Primary, Created: v.Created.UTC(),
			Uses: v.Uses, Reencrypted: v.Reencrypted, Leased: v.Leased, Processes: v.Processes,
			Share: float64(v.Uses) / float64(u.HardLimit),
		})
	}
	return view
}

func (a *app) usageOfAll(ctx context.Context, kr *core.Keyrotor) error {
	names, err := kr.Keys(ctx)
	if err != nil {
		return err
	}
	views := make([]usageView, 0, len(names))
	for _, name := range names {
		u, err := kr.Usage(ctx, name)
		if err != nil {
			return err
		}
		views = append(views, viewUsage(u))
	}
	if a.JSON {
		return a.Answer(map[string][]usageView{"keys": views})
	}
	if len(views) == 0 {
		a.Hint("There are no keys yet: keyrotor key create NAME")
		return nil
	}
	var rows [][]string
	for _, view := range views {
		cells := []string{"none", "", "", "", "", ""}
		for _, v := range view.Versions {
			if v.Primary {
				cells = usageCells(v)
			}
		}
		row := append([]string{view.Key}, cells[0])
		row = append(row, cells[2:]...)
		rows = append(rows, append(row, strconv.FormatUint(view.HardLimit, 10), paceText(view.Pace), limitText(view.Pace)))
	}
	return a.Table([]string{"KEY", "PRIMARY", "USES", "BY RE-ENCRYPTION", "ON LEASE", "SHARE", "HARD LIMIT", "USES A DAY", "LIMIT REACHED"}, rows)
}

func (a *app) showUsage(u engine.Usage) error {
	view := viewUsage(u)
	if a.JSON {
		return a.Answer(view)
	}
	policy := "none that counts uses"
	if view.MaxUses > 0 {
		policy = fmt.Sprintf("may rotate the key after %d encryptions", view.MaxUses)
	}
	if err := a.Printf(`key            %s
primary        %s
hard limit     %d uses a version
policy         %s
uses a day     %s
limit reached  %s

`, view.Key, versionText(view.Primary), view.HardLimit, policy, paceText(view.Pace), limitText(view.Pace)); err != nil {
		return err
	}
	rows := make([][]string, 0, len(view.Versions))
	for _, v := range view.Versions {
		rows = append(rows, usageCells(v))
	}
	return a.Table([]string{"VERSION", "STATE", "USES", "BY RE-ENCRYPTION", "ON LEASE", "SHARE"}, rows)
}

// usageCells are the columns of one version.
func usageCells(v versionUsageView) []string {
	lease := strconv.FormatUint(v.Leased, 10)
	switch {
	case v.Processes == 1:
		lease += " by 1 process"
	case v.Processes > 1:
		lease += fmt.Sprintf(" by %d processes", v.Processes)
	}
	return []string{
		versionText(v.Version), string(v.State), strconv.FormatUint(v.Uses, 10), strconv.FormatUint(v.Reencrypted, 10),
		lease, shareText(v.Share),
	}
}

// shareText is a percentage. What is little is not shown as nothing.
func shareText(share float64) string {
	switch percent := 100 * share; {
	case percent == 0:
		return "0 %"
	case percent < 0.1:
		return "< 0.1 %"
	default:
		return strconv.FormatFloat(percent, 'f', 1, 64) + " %"
	}
}

func paceText(p *paceView) string {
	if p == nil {
		return "unknown"
	}
	if p.PerDay < 1 {
		return "< 1"
	}
	return strconv.FormatFloat(math.Round(p.PerDay), 'f', 0, 64)
}

func limitText(p *paceView) string {
	switch {
	case p == nil:
		return "unknown"
	case p.LimitReached == nil:
		return "not in 100 years"
	default:
		return timeText(*p.LimitReached)
	}
}
