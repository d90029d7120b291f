using System.Net;
using System.Security.Cryptography;
using ObjectStore.S3.Signing;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>An answer read to its end.</summary>
internal sealed record Answer(HttpStatusCode Status, byte[] Body, string? ContentType)
{
    public string Text => System.Text.Encoding.UTF8.GetString(Body);
}

/// <summary>Sends signed requests, one connection pool for each client.</summary>
internal sealed class S3Client(Uri endpoint, (string AccessKey, string Secret) keys) : IDisposable
{
    private readonly HttpClient _http = new() { BaseAddress = endpoint, Timeout = TimeSpan.FromSeconds(20) };
    private readonly SigV4Signer _signer = new(keys.AccessKey, keys.Secret);

    public Task<Answer> PutAsync(string path, byte[]? body = null) => SendAsync(HttpMethod.Put, path, body ?? []);

    public Task<Answer> GetAsync(string path, string query = "") => SendAsync(HttpMethod.Get, path, null, query);

    public Task<Answer> DeleteAsync(string path) => SendAsync(HttpMethod.Delete, path, null);

    public async Task<Answer> SendAsync(HttpMethod method, string path, byte[]? body, string query = "")
    {
        SigV4HeaderList headers = Sign(method.Method, path, query, body ?? []).Headers;
        using HttpRequestMessage request = new(method, query.Length == 0 ? path : $"{path}?{query}");
        foreach ((string name, string value) in headers.Entries)
        {
            if (name != "Host") request.Headers.TryAddWithoutValidation(name, value);
        }

        if (body is not null) request.Content = new ByteArrayContent(body);
        return await ReadAsync(await _http.SendAsync(request));
    }

    /// <summary>A request without a signature.</summary>
    public async Task<Answer> SendUnsignedAsync(HttpMethod method, string pathAndQuery)
    {
        using HttpRequestMessage request = new(method, pathAndQuery);
        return await ReadAsync(await _http.SendAsync(request));
    }

    /// <summary>The path and query of a presigned GET.</summary>
    public string Presign(string path)
    {
        SigV4HeaderList headers = new();
        headers.Add("Host", endpoint.Authority);
        return $"{path}?{_signer.Presign("GET", path, "", headers, TimeSpan.FromMinutes(5), DateTimeOffset.UtcNow)}";
    }

    /// <summary>The headers of a signed request, for a socket.</summary>
    public (SigV4HeaderList Headers, SigV4Seed Seed) Sign(string method, string path, string query, byte[] body, string? contentSha256 = null, params (string Name, string Value)[] more)
    {
        SigV4HeaderList headers = new();
        headers.Add("Host", endpoint.Authority);
        foreach ((string name, string value) in more) headers.Add(name, value);
        SigV4Seed seed = _signer.SignHeaders(method, path, query, headers, contentSha256 ?? Convert.ToHexStringLower(SHA256.HashData(body)), DateTimeOffset.UtcNow);
        return (headers, seed);
    }

    public void Dispose() => _http.Dispose();

    private static async Task<Answer> ReadAsync(HttpResponseMessage response)
    {
        using (response) return new Answer(response.StatusCode, await response.Content.ReadAsByteArrayAsync(), response.Content.Headers.ContentType?.ToString());
    }
}
