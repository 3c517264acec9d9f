// Sends the form of the page at once. `HTMLFormElement.prototype`: a field of the form may be named "submit".

HTMLFormElement.prototype.submit.call(document.getElementById("repeated"));
