package wire

import (
	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// The wire has a message of its own for the items and results of each call, so
// that one can grow a field without the others; in core/provider Rewrap shares
// its items with Unwrap and its results with Wrap.

func toWrapItems(items []provider.WrapItem) []*providerv1.WrapRequest_Item {
	out := make([]*providerv1.WrapRequest_Item, len(items))
	for i, item := range items {
		out[i] = &providerv1.WrapRequest_Item{Plaintext: item.Plaintext.Reveal(), Aad: item.AAD}
	}
	return out
}

func fromWrapItems(items []*providerv1.WrapRequest_Item) []provider.WrapItem {
	out := make([]provider.WrapItem, len(items))
	for i, item := range items {
		out[i] = provider.WrapItem{Plaintext: provider.NewSecret(item.GetPlaintext()), AAD: item.GetAad()}
	}
	return out
}

func toUnwrapItems(items []provider.UnwrapItem) []*providerv1.UnwrapRequest_Item {
	out := make([]*providerv1.UnwrapRequest_Item, len(items))
	for i, item := range items {
		out[i] = &providerv1.UnwrapRequest_Item{Wrapped: toWrapped(item.Wrapped), Aad: item.AAD}
	}
	return out
}

func toRewrapItems(items []provider.UnwrapItem) []*providerv1.RewrapRequest_Item {
	out := make([]*providerv1.RewrapRequest_Item, len(items))
	for i, item := range items {
		out[i] = &providerv1.RewrapRequest_Item{Wrapped: toWrapped(item.Wrapped), Aad: item.AAD}
	}
	return out
}

// boundWrap is an item of an UnwrapRequest or of a RewrapRequest.
type boundWrap interface {
	GetWrapped() *providerv1.Wrapped
	GetAad() []byte
}

func fromBoundWraps[Item boundWrap](items []Item) []provider.UnwrapItem {
	out := make([]provider.UnwrapItem, len(items))
	for i, item := range items {
		out[i] = provider.UnwrapItem{Wrapped: fromWrapped(item.GetWrapped()), AAD: item.GetAad()}
	}
	return out
}

func toWrapResults(results []provider.WrapResult) []*providerv1.WrapResponse_Result {
	out := make([]*providerv1.WrapResponse_Result, len(results))
	for i, r := range results {
		if r.Err != nil {
			out[i] = &providerv1.WrapResponse_Result{Outcome: &providerv1.WrapResponse_Result_Error{Error: toItemError(r.Err)}}
			continue
		}
		out[i] = &providerv1.WrapResponse_Result{Outcome: &providerv1.WrapResponse_Result_Wrapped{Wrapped: toWrapped(r.Wrapped)}}
	}
	return out
}

func toRewrapResults(results []provider.WrapResult) []*providerv1.RewrapResponse_Result {
	out := make([]*providerv1.RewrapResponse_Result, len(results))
	for i, r := range results {
		if r.Err != nil {
			out[i] = &providerv1.RewrapResponse_Result{Outcome: &providerv1.RewrapResponse_Result_Error{Error: toItemError(r.Err)}}
			continue
		}
		out[i] = &providerv1.RewrapResponse_Result{Outcome: &providerv1.RewrapResponse_Result_Wrapped{Wrapped: toWrapped(r.Wrapped)}}
	}
	return out
}

func toUnwrapResults(results []provider.UnwrapResult) []*providerv1.UnwrapResponse_Result {
	out := make([]*providerv1.UnwrapResponse_Result, len(results))
	for i, r := range results {
		if r.Err != nil {
			out[i] = &providerv1.UnwrapResponse_Result{Outcome: &providerv1.UnwrapResponse_Result_Error{Error: toItemError(r.Err)}}
			continue
		}
		out[i] = &providerv1.UnwrapResponse_Result{Outcome: &providerv1.UnwrapResponse_Result_Unwrapped{
			Unwrapped: &providerv1.UnwrapResponse_Unwrapped{
				Plaintext: r.Plaintext.Reveal(), KekVersion: r.KEKVersion, KekId: r.KEKID,
			},
		}}
	}
	return out
}

// wrapResult is a result of a WrapResponse or of a RewrapResponse.
type wrapResult interface {
	GetWrapped() *providerv1.Wrapped
	GetError() *providerv1.ItemError
}

func fromWrapResults[Result wrapResult](results []Result, items int) ([]provider.WrapResult, error) {
	if err := checkCount(len(results), items); err != nil {
		return nil, err
	}
	out := make([]provider.WrapResult, len(results))
	for i, r := range results {
		switch {
		case r.GetError() != nil:
			out[i].Err = fromItemError(r.GetError())
		case r.GetWrapped() != nil:
			out[i].Wrapped = fromWrapped(r.GetWrapped())
			if err := checkWrapped(out[i].Wrapped); err != nil {
				return nil, inResult(i, err)
			}
		default:
			return nil, inResult(i, errNoOutcome())
		}
	}
	return out, nil
}

// fromUnwrapResults takes the plaintexts over; on an error it wipes them.
func fromUnwrapResults(results []*providerv1.UnwrapResponse_Result, items []provider.UnwrapItem) (out []provider.UnwrapResult, err error) {
	defer func() {
		if err != nil {
			wipeResults(results)
		}
	}()
	if err := checkCount(len(results), len(items)); err != nil {
		return nil, err
	}
	out = make([]provider.UnwrapResult, len(results))
	for i, r := range results {
		switch {
		case r.GetError() != nil:
			out[i].Err = fromItemError(r.GetError())
		case r.GetUnwrapped() != nil:
			u := r.GetUnwrapped()
			if err := checkUnwrapped(items[i].Wrapped, u); err != nil {
				return nil, inResult(i, err)
			}
			out[i] = provider.UnwrapResult{
				Plaintext: provider.NewSecret(u.GetPlaintext()), KEKID: u.GetKekId(), KEKVersion: u.GetKekVersion(),
			}
		default:
			return nil, inResult(i, errNoOutcome())
		}
	}
	return out, nil
}

func wipeResults(results []*providerv1.UnwrapResponse_Result) {
	for _, r := range results {
		clear(r.GetUnwrapped().GetPlaintext())
	}
}
