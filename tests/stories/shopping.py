"""The GraphQL operations of the end-to-end tests, as text."""

_PRICE = "{ moneyAmounts { centAmount currency } }"
_CART = f"""{{
  id revision active state totalQuantity totalPurchasePrice {_PRICE}
  entries {{
    id quantity purchasePrice {_PRICE} totalPurchasePrice {_PRICE} items {{ itemId {{ id code }} displayName }}
  }}
}}"""
_ORDER = """{
  id orderNumber draft status email totalAmount { centAmount currency }
  orderItems { code quantity totalPrice { moneyAmounts { centAmount } } }
}"""

CART = f"query Cart($id: String) {{ getCart(id: $id) {_CART} }}"
ADD = f"mutation Add($input: AddToCartInput!) {{ addToCart(addToCartInput: $input) {{ code success cart {_CART} }} }}"
UPDATE = f"""mutation Update($input: UpdateCartInput!) {{
  updateCart(updateCartInput: $input) {{ code success cart {_CART} }}
}}"""
REMOVE = f"""mutation Remove($input: RemoveFromCartInput!) {{
  removeFromCart(removeFromCartInput: $input) {{ code success cart {_CART} }}
}}"""
CREATE = f"""mutation Create($input: CreateCartInput!) {{
  createCart(createCartInput: $input) {{ code success cart {_CART} }}
}}"""
CHECK_OUT = f"mutation CheckOut($cart: String!) {{ checkOut(cartId: $cart) {{ code order {_ORDER} }} }}"
PLACE = f"mutation Place($id: String!) {{ placeOrder(id: $id) {{ code order {_ORDER} }} }}"
SIGN_UP = """mutation SignUp($input: CustomerSignUpInput!) {
  signUp(customerSignUpInput: $input) {
    code success message customer { id email firstName lastName } problems { field id message }
  }
}"""
CUSTOMER = "query CurrentCustomer { getCurrentCustomer { id email firstName lastName } }"
ORDERS = f"query Orders {{ findOrders {{ total count orders {_ORDER} }} }}"
ORDER_BY_ID = f"query OrderById($id: String!) {{ getOrderById(id: $id) {_ORDER} }}"
ORDER_BY_NUMBER = f"query OrderByNumber($number: String!) {{ getOrderByOrderNumber(orderNumber: $number) {_ORDER} }}"
CATEGORIES = "query Categories { findCategories { id slug displayName } }"
BY_KEYWORD = """query ByKeyword($text: String!) {
  findItemsByKeyword(text: $text) { total items { itemId { id } displayName slug } }
}"""
BY_CATEGORY = """query ByCategory($id: String!) {
  findItemsByCategory(categoryId: $id, limit: 5) { total count items { itemId { id } } }
}"""
ITEM = """query Item($id: String!) {
  findItemById(id: $id) {
    displayName
    variants {
      itemId { id code } purchasePrice { moneyAmounts { centAmount currency } } availability { availableQuantity }
    }
  }
}"""
