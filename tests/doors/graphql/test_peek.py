async def test_peek(visitor):
    import json
    print(json.dumps(await visitor.ask("""{ getCurrentCustomer { id } getCart { id } findItemsByKeyword(text: "tea", limit: 2) { total count items { __typename itemId { id code } displayName slug imageSet { thumbnail { link { href } alt } } listPrice { moneyAmounts { amount centAmount currency displayValue } } priceRange categories { id path displayName parent { id } } variants { displayName master varAttrs { name values } availability { inStock availableQuantity } mainItem { slug } } } } }"""), indent=1))
    assert 0
