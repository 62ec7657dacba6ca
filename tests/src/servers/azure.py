"""One request to Azure Blob Storage, signed with the account's key (Shared Key of the REST API)."""
import base64, email.utils, hashlib, hmac, sys, urllib.parse, urllib.request

endpoint, account, key, method, path, query = sys.argv[1:]
headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
if method == "PUT" and not query:
    headers["x-ms-blob-type"] = "BlockBlob"
canonical_headers = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
resource = f"/{account}{urllib.parse.urlsplit(endpoint).path}/{path}"
for name, value in sorted(urllib.parse.parse_qsl(query, keep_blank_values=True)):
    resource += f"\n{name}:{value}"
to_sign = method + "\n" * 12 + canonical_headers + resource
signature = base64.b64encode(hmac.new(base64.b64decode(key), to_sign.encode(), hashlib.sha256).digest()).decode()
headers["Authorization"] = f"SharedKey {account}:{signature}"
url = f"{endpoint}/{path}" + (f"?{query}" if query else "")
request = urllib.request.Request(url, method=method, headers=headers)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.stdout.buffer.write(opener.open(request).read())
