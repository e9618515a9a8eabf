package vaulttransit

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
)

// maxItems is how many items go into one request. Vault takes 10,000, and 32 MiB.
const maxItems = 256

const (
	fieldPlaintext  = "plaintext"
	fieldCiphertext = "ciphertext"
)

// batch is the items of one call, in as many requests as they need.
type batch struct {
	op, before string
	indexes    []int
	items      [][]byte // JSON
}

// add encodes an item. A root is written into a buffer of the right size, because one that
// grows leaves copies behind.
func (b *batch) add(i int, aad []byte, field string, value []byte) {
	binding := bindingContext(aad)
	item := make([]byte, 0, len(`{"context":"","":""}`)+len(field)+
		base64.StdEncoding.EncodedLen(len(binding))+max(len(value), base64.StdEncoding.EncodedLen(len(value))))
	item = append(item, `{"context":"`...)
	item = base64.StdEncoding.AppendEncode(item, binding)
	item = append(append(append(item, `","`...), field...), `":"`...)
	if field == fieldCiphertext {
		item = append(item, value...) // a wrap that was parsed: it has nothing to escape
	} else {
		item = base64.StdEncoding.AppendEncode(item, value)
	}
	b.indexes, b.items = append(b.indexes, i), append(b.items, append(item, `"}`...))
}

// body takes the items of one request; they are wiped.
func (b *batch) body(from, to int) []byte {
	head, size := `{`+b.before+`"batch_input":[`, 0
	for _, item := range b.items[from:to] {
		size += len(item) + len(`,`)
	}
	out := append(make([]byte, 0, len(head)+size+len(`]}`)), head...)
	for i, item := range b.items[from:to] {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
		clear(item)
	}
	return append(out, `]}`...)
}

// itemResult is what Vault answers for one item, or for a data key. A plaintext is decoded
// straight into its own buffer.
type itemResult struct {
	Ciphertext string `json:"ciphertext"`
	Plaintext  []byte `json:"plaintext"`
	Error      string `json:"error"`
}

type batchResults struct {
	Results []itemResult `json:"batch_results"`
}

// run makes the requests of a batch and hands each item's outcome on. An error is one of
// the whole call.
func (m *manager) run(ctx context.Context, b *batch, each func(i int, out itemResult, err error)) error {
	defer func() {
		for _, item := range b.items {
			clear(item)
		}
	}()
	for from := 0; from < len(b.items); from += maxItems {
		to := min(from+maxItems, len(b.items))
		r := put(m.mount+"/"+b.op+"/"+m.settings.key, b.body(from, to))
		a, err := m.ask(ctx, r)
		results, failed := m.results(r, a, err, to-from)
		if failed != nil {
			return m.forgetting(failed)
		}
		for i, out := range results {
			each(b.indexes[from+i], out, m.itemFailure(r, a.status, out.Error))
		}
	}
	return nil
}

// results reads the answer to a batch. One in which every item failed has a status of
// failure, and the items' errors all the same.
func (m *manager) results(r request, a answer, err error, want int) ([]itemResult, error) {
	if err != nil && (len(a.body) == 0 || a.status != http.StatusBadRequest && a.status != http.StatusInternalServerError) {
		return nil, err
	}
	out, decodeErr := decode[batchResults](&m.settings, r, a)
	switch {
	case len(out.Results) == want:
		return out.Results, nil
	case err != nil:
		return nil, err
	case decodeErr != nil:
		return nil, decodeErr
	default:
		for _, o := range out.Results {
			clear(o.Plaintext)
		}
		return nil, provider.BrokenPromise(provider.Internal, "Vault answers one result an item", "it answered %d for %d", len(out.Results), want)
	}
}

// itemFailure is nil for an item that did not fail.
func (m *manager) itemFailure(r request, status int, text string) error {
	switch {
	case text == "":
		return nil
	case strings.Contains(text, tooOld):
		return errTooOld
	case status < http.StatusBadRequest:
		status = http.StatusBadRequest // its share in a batch that succeeded in part
	}
	return m.failure(r, answer{status: status, errors: []string{tidy(text)}})
}
