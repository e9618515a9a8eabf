package console

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// redraw is how often a progress bar is drawn at most.
const redraw = 100 * time.Millisecond

// Progress is a bar over bytes, or over things that are counted. A nil one does
// nothing.
type Progress struct {
	console *Console
	bar     *progressbar.ProgressBar
	counts  bool
}

// Progress answers a bar over bytes if a person watches a terminal that can show one,
// else nil.
func (c *Console) Progress() *Progress {
	if !c.Watched() || c.plain {
		return nil
	}
	return &Progress{console: c}
}

// Counter is Progress over things that are counted.
func (c *Console) Counter() *Progress {
	p := c.Progress()
	if p != nil {
		p.counts = true
	}
	return p
}

// Set moves the bar; what is beside it names what is being done. The bar appears
// with the first total that is not zero.
func (p *Progress) Set(beside string, done, total int64) {
	if p == nil || total <= 0 {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.console.Err),
			progressbar.OptionShowBytes(!p.counts),
			progressbar.OptionThrottle(redraw),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionFullWidth(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetDescription(Printable(beside)),
		)
	}
	// A file that grows meanwhile takes the count beyond the total, which the bar
	// refuses.
	_ = p.bar.Set64(min(done, total))
	p.bar.Describe(Printable(beside))
}

// Close takes the bar away.
func (p *Progress) Close() {
	if p == nil || p.bar == nil {
		return
	}
	// A bar that cannot be cleared any more stays in sight; nothing else is lost.
	_ = p.bar.Clear()
	_ = p.bar.Exit()
}
