"""Operations in the shape of the published GraphQL Commerce client: every field that it asks for, in our own
writing."""

MONEY = "fragment AnyMoney on MoneyAmount { channelId displayValue currency amount }"
ATTRIBUTE = "fragment AnyAttribute on Attribute { values name }"

LIKE = """
fragment AnyItem on ItemLike {
  description
  displayName
  itemId { code id }
  imageSet {
    thumbnail { link { href } }
    original { link { href } }
    variants { image { link { href } dimension { h w } } name }
  }
  purchasePrice { moneyAmounts { ...AnyMoney } }
  listPrice { moneyAmounts { ...AnyMoney } }
}
"""

VARIANT = """
fragment AsVariant on ItemVariant {
  ...AnyItem
  availability {
    restockableInDays availableQuantity inStock
    channels { restockableInDays availableQuantity inStock channelId }
  }
  mainItem { slug displayName itemId { code id } }
  customAttrs { ...AnyAttribute }
  varAttrs { ...AnyAttribute }
  master
}
"""

ITEM = """
fragment AsItem on Item {
  ...AnyItem
  categories { slug path parentId displayName id }
  slug
  variants { ...AsVariant }
  customAttrs { ...AnyAttribute }
  priceRange
  salePriceRange
  varAttrTypes { name }
}
"""

ITEMS = LIKE + VARIANT + ITEM + MONEY + ATTRIBUTE

FACETS = """
fragment AnyFacets on FacetResult {
  ranges { values { count end start } id name }
  fields { values { count name parentId id } name id }
}
"""

HINTS = """
fragment AnyHint on QueryHint {
  statsFields { purchasePrice { min max } listPrice { min max } }
  redirectHint { newQuery query url }
  autoCorrectQuerySet autoCorrectQuery cursor
}
"""

PAGE = """
fragment AnyPage on ItemsPageResult {
  total count limit offset items { ...AsItem } facetResult { ...AnyFacets }
}
"""

BY_KEYWORD = (
    """query Items($query: String!, $offset: Int, $limit: Int, $queryHint: QueryHintInput, $sortFields: String) {
      findItemsByKeyword(
        text: $query, offset: $offset, limit: $limit, queryHint: $queryHint, sortFields: $sortFields
      ) { ...AnyPage queryHint { ...AnyHint } } }"""
    + PAGE
    + ITEMS
    + FACETS
    + HINTS
)

BY_CATEGORY = (
    """query ItemsByCategory(
      $categoryId: String!, $offset: Int, $limit: Int, $queryHint: QueryHintInput, $sortFields: String
    ) {
      findItemsByCategory(
        categoryId: $categoryId, offset: $offset, limit: $limit, queryHint: $queryHint, sortFields: $sortFields
      ) { ...AnyPage queryHint { ...AnyHint } } }"""
    + PAGE
    + ITEMS
    + FACETS
    + HINTS
)

BY_IDS = (
    """query ItemsByIds($ids: [String!]!, $offset: Int, $limit: Int, $queryHint: QueryHintInput) {
      findItemsByIds(ids: $ids, offset: $offset, limit: $limit, queryHint: $queryHint) { ...AnyPage } }"""
    + PAGE
    + ITEMS
    + FACETS
)

BY_ID = (
    "query Item($id: String!, $queryHint: QueryHintInput) {"
    " findItemById(id: $id, queryHint: $queryHint) { ...AsItem } }" + ITEMS
)

BY_SLUG = (
    "query ItemBySlug($slug: String!, $queryHint: QueryHintInput) {"
    " findItemBySlug(slug: $slug, queryHint: $queryHint) { ...AsItem } }" + ITEMS
)

CATEGORY = """
fragment AnyCategory on Category {
  parent { parentId path displayName id } slug path displayName parentId key id
}
"""

CATEGORIES = (
    "query Categories($queryHint: QueryHintInput) { findCategories(queryHint: $queryHint) { ...AnyCategory } }"
    + CATEGORY
)

CATEGORY_BY_ID = (
    "query Category($id: String!, $queryHint: QueryHintInput) {"
    " findCategoryById(id: $id, queryHint: $queryHint) { ...AnyCategory } }" + CATEGORY
)

CATEGORIES_BY_IDS = (
    "query CategoriesByIds($ids: [String!]!, $queryHint: QueryHintInput) {"
    " findCategoriesByIds(ids: $ids, queryHint: $queryHint) { ...AnyCategory } }" + CATEGORY
)

CATEGORY_BY_SLUG = (
    "query CategoryBySlug($slug: String!, $queryHint: QueryHintInput) {"
    " findCategoryBySlug(slug: $slug, queryHint: $queryHint) { ...AnyCategory } }" + CATEGORY
)

DISCOUNT = """
fragment AnyDiscount on Discount {
  value { type numericalAmount moneyAmounts { ...AnyMoney } } type targetIds code
}
"""

CART = (
    """
fragment AnyCart on Cart {
  discounts { ...AnyDiscount }
  entries {
    items { ... on ItemVariant { ...AsVariant } ... on Item { ...AsItem } }
    customAttrs { ...AnyAttribute }
    purchasePrice { moneyAmounts { ...AnyMoney } }
    listPrice { moneyAmounts { ...AnyMoney } }
    quantity
    id
  }
  state
  active
  totalPurchasePrice { moneyAmounts { ...AnyMoney } }
  totalListPrice { moneyAmounts { ...AnyMoney } }
  revision
  totalQuantity
  id
}
"""
    + DISCOUNT
    + ITEMS
)

GET_CART = (
    "query Cart($id: String, $cartHint: CartHintInput) { getCart(id: $id, cartHint: $cartHint) { ...AnyCart } }" + CART
)


def _cart_mutation(name: str, field: str, input_type: str) -> str:
    argument = field + "Input"
    return (
        f"mutation {name}($input: {input_type}!, $cartHint: CartHintInput) {{"
        f" {field}({argument}: $input, cartHint: $cartHint) {{ message success code cart {{ ...AnyCart }} }} }}" + CART
    )


CREATE_CART = _cart_mutation("CreateCart", "createCart", "CreateCartInput")
ADD_TO_CART = _cart_mutation("AddToCart", "addToCart", "AddToCartInput")
UPDATE_CART = _cart_mutation("UpdateCart", "updateCart", "UpdateCartInput")
REMOVE_FROM_CART = _cart_mutation("RemoveFromCart", "removeFromCart", "RemoveFromCartInput")

CUSTOMER = """
fragment AnyCustomer on Customer {
  customAttrs { values name } dateOfBirth companyName salutation title lastName middleName firstName email id
}
"""

CURRENT_CUSTOMER = "query CurrentCustomer { getCurrentCustomer { ...AnyCustomer } }" + CUSTOMER

SIGN_UP = (
    "mutation SignUp($input: CustomerSignUpInput!) {"
    " signUp(customerSignUpInput: $input) { message success code customer { ...AnyCustomer } } }" + CUSTOMER
)

ADDRESS = """
fragment AnyAddress on Address {
  phone readOnly shippingAddress billingAddress country state city postalCode company additionalStreetInfo
  streetAddress lastName middleName firstName id
}
"""

ORDER = (
    """
fragment AnyOrder on Order {
  email
  discounts { ...AnyDiscount }
  orderItems {
    item { ... on ItemVariant { ...AsVariant } ... on Item { ...AsItem } }
    totalPrice { moneyAmounts { ...AnyMoney } }
    unitPrice { moneyAmounts { ...AnyMoney } }
    quantity status type id
  }
  taxAmount { ...AnyMoney }
  shipAmount { ...AnyMoney }
  totalAmount { ...AnyMoney }
  billingAddress { ...AnyAddress }
  shippingAddress { ...AnyAddress }
  paymentMethodId shipMethod creationDate shipmentState paymentState status draft orderNumber id
}
"""
    + ADDRESS
    + DISCOUNT
    + ITEMS
)

ORDERS = (
    """query Orders($offset: Int, $limit: Int, $sortFields: String, $queryHint: QueryHintInput) {
      findOrders(offset: $offset, limit: $limit, sortFields: $sortFields, queryHint: $queryHint) {
        queryHint { cursor } total count limit offset orders { ...AnyOrder } } }"""
    + ORDER
)

ORDER_BY_ID = "query Order($id: String!) { getOrderById(id: $id) { ...AnyOrder } }" + ORDER

ORDER_BY_NUMBER = (
    "query OrderByOrderNumber($orderNumber: String!) {"
    " getOrderByOrderNumber(orderNumber: $orderNumber) { ...AnyOrder } }" + ORDER
)

DRAFT = """
fragment AnyDraft on Order {
  totalAmount { ...AnyMoney }
  billingAddress { ...AnyAddress }
  shippingAddress { ...AnyAddress }
  shipAmount { ...AnyMoney }
  shipMethod creationDate draft status id federatedCheckoutUrl
}
"""

CHECK_OUT = (
    "mutation CheckOut($cartId: String!, $cartHint: CartHintInput) {"
    " checkOut(cartId: $cartId, cartHint: $cartHint) { message success code order { ...AnyDraft } } }"
    + DRAFT
    + ADDRESS
    + MONEY
)

PLACE_ORDER = (
    "mutation PlaceOrder($id: String!, $orderNumber: String) {"
    " placeOrder(id: $id, orderNumber: $orderNumber) { message success code order { ...AnyOrder } } }" + ORDER
)
