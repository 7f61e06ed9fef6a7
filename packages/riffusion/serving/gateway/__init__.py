"""The web-facing server in front of an endpoint.

app            its routes
openapi        the API's schema and a page to try it
origins        which web pages may use it
client_limits  requests per minute and at the same time, per client
incoming_body  request bodies, limited in size and time
model_info     what the checkpoint can do, from the metrics
reverse_proxy  passes a request to the endpoint and its response back
seed_images    seed images and masks to choose from
single_flight  a cache that asks the endpoint once for many callers

`app.create_gateway` puts them together.
"""
