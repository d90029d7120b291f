using System.Net;
using System.Text;
using System.Text.Json;

namespace ObjectStore.Silo.Tests.Observability;

/// <summary>What the admin interface answers to those who may not ask, and to what cannot be asked.</summary>
public sealed class AdminEndpointTests(RunningHost running) : IClassFixture<RunningHost>, IDisposable
{
    private readonly HttpClient _http = new() { BaseAddress = running.Host.Endpoint, Timeout = TimeSpan.FromSeconds(20) };

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _http.Dispose();

    [Fact]
    public async Task Status_WithTheToken_IsAnswered()
    {
        (HttpStatusCode status, JsonElement body) = await SendAsync(HttpMethod.Get, "/status", running.AdminToken);
        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Single(body.GetProperty("drives").EnumerateArray());
    }

    [Theory]
    [InlineData("")]
    [InlineData("0123456789abcdef0123456789abcdef")]
    [InlineData("../../etc/passwd")]
    public async Task OtherToken_Is401_AndIsNotRepeated(string token)
    {
        (HttpStatusCode status, JsonElement body) = await SendAsync(HttpMethod.Get, "/status", token);
        Assert.Equal(HttpStatusCode.Unauthorized, status);
        Assert.Contains("admin.token", body.GetProperty("remedy").GetString(), StringComparison.Ordinal);
        if (token.Length > 0) Assert.DoesNotContain(token, body.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task TwoTokens_Are401()
    {
        using HttpRequestMessage request = new(HttpMethod.Get, "/admin/v1/status");
        request.Headers.TryAddWithoutValidation("x-objectstore-admin-token", [running.AdminToken, running.AdminToken]);
        using HttpResponseMessage answer = await _http.SendAsync(request, Stop);
        Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
    }

    [Fact]
    public async Task WithoutTheHeader_ItIsS3s()
    {
        using HttpResponseMessage answer = await _http.GetAsync("/admin/v1/status", Stop);
        Assert.Equal(HttpStatusCode.Forbidden, answer.StatusCode);
        Assert.Contains("<Code>AccessDenied</Code>", await answer.Content.ReadAsStringAsync(Stop), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("GET", "", null)]
    [InlineData("GET", "/", null)]
    [InlineData("GET", "/other", null)]
    [InlineData("DELETE", "/drives", null)]
    [InlineData("POST", "/status", "{}")]
    [InlineData("GET", "/drives/%2e%2e/state", null)]
    public async Task WhatIsNoRequest_Is404(string method, string path, string? content)
    {
        (HttpStatusCode status, JsonElement body) = await SendAsync(new HttpMethod(method), path, running.AdminToken, content);
        Assert.Equal(HttpStatusCode.NotFound, status);
        Assert.NotEqual("", body.GetProperty("error").GetString());
    }

    [Theory]
    [InlineData("/repair", "")]
    [InlineData("/repair", "null")]
    [InlineData("/repair", "[]")]
    [InlineData("/repair", "{")]
    [InlineData("/repair", "{}")]
    [InlineData("/repair", "{\"action\":null}")]
    [InlineData("/repair", "{\"action\":\"start\"}")]
    [InlineData("/scrub", "{\"action\":\"release\"}")]
    [InlineData("/orphans", "{\"action\":\"pause\"}")]
    [InlineData("/compaction", "{\"action\":\"start\"}")]
    [InlineData("/garbage", "{\"action\":\"release\"}")]
    [InlineData("/drives/format", "{}")]
    [InlineData("/drives/format", "{\"path\":null}")]
    [InlineData("/drives/format", "{\"path\":\"\"}")]
    [InlineData("/drives/format", "{\"path\":\"\\u0000\"}")]
    [InlineData("/drives/format", "{\"path\":\"/etc\"}")]
    [InlineData("/drives/format", "{\"path\":\"../..\"}")]
    [InlineData("/drives/none/state", "{\"state\":\"draining\"}")]
    [InlineData("/drives/10111213-1415-1617-1819-1a1b1c1d1e1f/state", "{\"state\":\"gone\"}")]
    [InlineData("/drives/10111213-1415-1617-1819-1a1b1c1d1e1f/state", "{\"state\":\"draining\",\"force\":\"yes\"}")]
    public async Task WhatCannotBe_Is400(string path, string content)
    {
        (HttpStatusCode status, JsonElement body) = await SendAsync(HttpMethod.Post, path, running.AdminToken, content);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.NotEqual("", body.GetProperty("error").GetString());
    }

    [Fact]
    public async Task UnknownDrive_Is404()
    {
        (HttpStatusCode status, JsonElement _) = await SendAsync(HttpMethod.Post, "/drives/10111213-1415-1617-1819-1a1b1c1d1e1f/state", running.AdminToken, "{\"state\":\"draining\"}");
        Assert.Equal(HttpStatusCode.NotFound, status);
    }

    [Fact]
    public async Task DriveFolder_ThatIsADriveAlready_Is409()
    {
        string path = running.DrivePath;
        (HttpStatusCode status, JsonElement _) = await SendAsync(HttpMethod.Post, "/drives/format", running.AdminToken, JsonSerializer.Serialize(new { path }));
        Assert.Equal(HttpStatusCode.Conflict, status);
    }

    [Fact]
    public async Task BodyThatIsTooLong_OrHasNoLength_Is400_WithoutBeingRead()
    {
        string padded = "{\"action\":\"pause\"" + new string(' ', 4096) + "}";
        Assert.Equal(HttpStatusCode.BadRequest, (await SendAsync(HttpMethod.Post, "/repair", running.AdminToken, padded)).Status);
        using HttpRequestMessage chunked = new(HttpMethod.Post, "/admin/v1/repair") { Content = new ByteArrayContent("{\"action\":\"pause\"}"u8.ToArray()) };
        chunked.Headers.Add("x-objectstore-admin-token", running.AdminToken);
        chunked.Headers.TransferEncodingChunked = true;
        using HttpResponseMessage answer = await _http.SendAsync(chunked, Stop);
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        (HttpStatusCode _, JsonElement body) = await SendAsync(HttpMethod.Get, "/status", running.AdminToken);
        Assert.NotEqual("paused", body.GetProperty("repair").GetProperty("state").GetString());
    }

    private async Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(HttpMethod method, string path, string token, string? content = null)
    {
        using HttpRequestMessage request = new(method, "/admin/v1" + path);
        request.Headers.TryAddWithoutValidation("x-objectstore-admin-token", token);
        if (content is not null) request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(content));
        using HttpResponseMessage answer = await _http.SendAsync(request, Stop);
        using JsonDocument document = JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Stop));
        return (answer.StatusCode, document.RootElement.Clone());
    }
}
