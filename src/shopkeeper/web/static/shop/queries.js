// Everything this page asks the shop for, as text.

const PICTURE = "imageSet { thumbnail { link { href } alt } }";
const PRICES = "purchasePrice { moneyAmounts { centAmount displayValue } } listPrice { moneyAmounts { centAmount displayValue } }";
const ITEM = `itemId { id } slug displayName ${PICTURE} ${PRICES} salePriceRange`;
const ITEMS = `offset count total items { ${ITEM} }`;
const CART = `id totalQuantity active
  totalPurchasePrice { moneyAmounts { centAmount currency displayValue } }
  totalListPrice { moneyAmounts { centAmount displayValue } }
  entries {
    id quantity
    purchasePrice { moneyAmounts { displayValue } }
    totalPurchasePrice { moneyAmounts { displayValue } }
    items { itemId { id code } displayName ${PICTURE} ... on ItemVariant { mainItem { slug } } }
  }`;
const ORDER = `id orderNumber draft creationDate totalAmount { displayValue }
  orderItems { id displayName quantity totalPrice { moneyAmounts { displayValue } } }`;

export const VISITOR = `query Visitor { getCurrentCustomer { id email firstName } getCart { ${CART} } }`;

export const CATEGORIES = "query Categories { findCategories { id slug displayName description } }";

export const BY_CATEGORY = `query ByCategory($category: String!, $offset: Int, $limit: Int, $sort: String) {
  page: findItemsByCategory(categoryId: $category, offset: $offset, limit: $limit, sortFields: $sort) { ${ITEMS} }
}`;

export const BY_KEYWORD = `query ByKeyword($text: String!, $offset: Int, $limit: Int, $sort: String) {
  page: findItemsByKeyword(text: $text, offset: $offset, limit: $limit, sortFields: $sort) { ${ITEMS} }
}`;

export const PRODUCT = `query Product($slug: String!) {
  item: findItemBySlug(slug: $slug) {
    ${ITEM} description
    imageSet { original { link { href } alt } }
    customAttrs { name values }
    categories { id slug displayName }
    variants { itemId { id code } varAttrs { name values } displayName ${PRICES} availability { availableQuantity } }
  }
}`;

export const ADD = `mutation Add($input: AddToCartInput!) { addToCart(addToCartInput: $input) { cart { ${CART} } } }`;
export const UPDATE = `mutation Update($input: UpdateCartInput!) { updateCart(updateCartInput: $input) { cart { ${CART} } } }`;
export const REMOVE = `mutation Remove($input: RemoveFromCartInput!) { removeFromCart(removeFromCartInput: $input) { cart { ${CART} } } }`;

export const SIGN_UP = `mutation SignUp($input: CustomerSignUpInput!) {
  signUp(customerSignUpInput: $input) { success message problems { field message } }
}`;

export const CHECK_OUT = `mutation CheckOut($cartId: String!) { checkOut(cartId: $cartId) { order { ${ORDER} } } }`;
export const PLACE = `mutation Place($id: String!) { placeOrder(id: $id) { order { ${ORDER} } } }`;
export const ORDER_BY_NUMBER = `query OrderByNumber($number: String!) { order: getOrderByOrderNumber(orderNumber: $number) { ${ORDER} } }`;
export const ORDERS = `query Orders($offset: Int, $limit: Int) { findOrders(offset: $offset, limit: $limit) { total orders { ${ORDER} } } }`;
