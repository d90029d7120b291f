using System.Globalization;
using ObjectStore.Gateway.Tests.Fixtures;

namespace ObjectStore.Gateway.Tests.Objects;

/// <summary>Ranges, conditions and overrides of GET and HEAD.</summary>
public sealed class ReadTests(GatewayFixture gateway) : GatewayTest(gateway), IClassFixture<GatewayFixture>
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 99)]
    [InlineData(65_535, 65_536)]
    [InlineData(1_048_575, 1_048_576)]
    [InlineData(1_048_576, 2_999_999)]
    [InlineData(2_999_999, 9_999_999)]
    [InlineData(3, null)]
    [InlineData(null, 5)]
    [InlineData(null, 1_500_000)]
    [InlineData(null, 9_000_000)]
    public async Task Range_IsThoseBytes(int? first, int? last)
    {
        byte[] body = GatewayFixture.RandomBytes(3_000_000);
        await PutAsync("key", body);
        int from = first ?? Math.Max(0, body.Length - last!.Value);
        int to = first is null ? body.Length - 1 : Math.Min(last ?? int.MaxValue, body.Length - 1);
        (string, string) header = ("Range", $"bytes={first}-{last}");
        Exchange get = await GetAsync("key", header);
        Assert.Equal((206, $"bytes {from}-{to}/{body.Length}"), (get.Status, get.Header("Content-Range")));
        Assert.Equal(body[from..(to + 1)], get.Body);
        Exchange head = await HeadAsync("key", header);
        Assert.Equal((206, (to - from + 1).ToString(CultureInfo.InvariantCulture), 0), (head.Status, head.Header("Content-Length"), head.Body.Length));
    }

    [Fact]
    public async Task RangeBehindTheEnd_IsUnsatisfiable_AndTellsTheSize()
    {
        await PutAsync("key", new byte[10]);
        Exchange get = await GetAsync("key", ("Range", "bytes=10-"));
        Assert.Equal((416, "InvalidRange", "bytes */10"), (get.Status, get.Code, get.Header("Content-Range")));
    }

    [Theory]
    [InlineData("bytes=0-1,3-4")]
    [InlineData("lines=0-1")]
    [InlineData("bytes=5-1")]
    public async Task RangeThatS3Ignores_IsTheWhole(string range)
    {
        await PutAsync("key", new byte[10]);
        Exchange get = await GetAsync("key", ("Range", range));
        Assert.Equal((200, 10), (get.Status, get.Body.Length));
    }

    [Fact]
    public async Task NotModified_HasTheValidators_AndNoBody()
    {
        await PutAsync("key", new byte[10], ("Cache-Control", "max-age=60"), ("Expires", "tomorrow"));
        Exchange whole = await GetAsync("key");
        foreach ((string, string) condition in new[] { ("If-None-Match", whole.Header("ETag")!), ("If-None-Match", "*"), ("If-Modified-Since", whole.Header("Last-Modified")!) })
        {
            foreach (Exchange answer in new[] { await GetAsync("key", condition), await HeadAsync("key", condition) })
            {
                Assert.Equal((304, 0), (answer.Status, answer.Body.Length));
                Assert.Equal((whole.Header("ETag"), whole.Header("Last-Modified"), "max-age=60", "tomorrow"), (
                    answer.Header("ETag"), answer.Header("Last-Modified"), answer.Header("Cache-Control"), answer.Header("Expires")));
                Assert.Null(answer.Header("Content-Length"));
                Assert.Null(answer.Header("Content-Type"));
            }
        }
    }

    [Fact]
    public async Task ConditionThatFails_Is412_AndOneThatHoldsIs200()
    {
        await PutAsync("key", new byte[10]);
        string etag = (await HeadAsync("key")).Header("ETag")!;
        Assert.Equal((412, "PreconditionFailed"), await AnswerAsync(("If-Match", "\"00000000000000000000000000000000\"")));
        Assert.Equal((412, "PreconditionFailed"), await AnswerAsync(("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")));
        Assert.Equal((200, ""), await AnswerAsync(("If-Match", etag)));
        Assert.Equal((200, ""), await AnswerAsync(("If-None-Match", "\"00000000000000000000000000000000\"")));
        Assert.Equal((200, ""), await AnswerAsync(("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")));

        async Task<(int, string)> AnswerAsync((string, string) header)
        {
            Exchange get = await GetAsync("key", header);
            return (get.Status, get.Code);
        }
    }

    [Fact]
    public async Task Overrides_ReplaceTheStoredHeaders()
    {
        await PutAsync("key", new byte[10], ("Content-Type", "text/x"), ("Cache-Control", "no-store"));
        Exchange get = await Fixture.SendAsync(new Call(
            "GET", $"/{Bucket}/key",
            "response-cache-control=public&response-content-disposition=attachment%3B%20filename%3Da&response-content-encoding=x&response-content-language=de&response-content-type=text%2Fplain&response-expires=never"));
        Assert.Equal(200, get.Status);
        Assert.Equal(("public", "attachment; filename=a", "x", "de", "text/plain", "never"), (
            get.Header("Cache-Control"), get.Header("Content-Disposition"), get.Header("Content-Encoding"), get.Header("Content-Language"), get.Header("Content-Type"), get.Header("Expires")));
        Exchange split = await Fixture.SendAsync(new Call("GET", $"/{Bucket}/key", "response-content-type=a%0D%0Ab"));
        Assert.Equal("InvalidArgument", split.Code);
        Exchange deleted = await Fixture.SendAsync(new Call("GET", $"/{Bucket}/key", "response-content-type=a%7Fb"));
        Assert.Equal("InvalidArgument", deleted.Code);
    }

    [Theory]
    [InlineData("/")]
    [InlineData(null)]
    public async Task PagesOfAListing_AreTogetherWhatTheModelSays(string? delimiter)
    {
        Random random = new(7);
        SortedSet<string> keys = new(StringComparer.Ordinal);
        while (keys.Count < 60) keys.Add(string.Concat(Enumerable.Range(0, random.Next(1, 6)).Select(_ => "ab/-"[random.Next(4)])).TrimStart('/') is { Length: > 0 } key ? key : "z");
        foreach (string key in keys) Assert.Equal(200, (await PutAsync(key, [1])).Status);
        foreach (string prefix in new[] { "", "a", "a/" })
        {
            string[] expected = [.. keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)).Select(key => RollUp(key, prefix, delimiter)).Distinct().Order(StringComparer.Ordinal)];
            foreach (int page in new[] { 1, 2, 7, 1000 })
            {
                Assert.Equal(expected, await ListAsync(prefix, delimiter, page, isV2: true));
                Assert.Equal(expected, await ListAsync(prefix, delimiter, page, isV2: false));
            }
        }
    }

    private static string RollUp(string key, string prefix, string? delimiter)
    {
        int at = delimiter is null ? -1 : key.IndexOf(delimiter, prefix.Length, StringComparison.Ordinal);
        return at < 0 ? key : key[..(at + delimiter!.Length)] + "*";
    }

    /// <summary>Every key, and every common prefix with a star behind it, in the order of the pages.</summary>
    private async Task<string[]> ListAsync(string prefix, string? delimiter, int maxKeys, bool isV2)
    {
        List<string> all = [];
        string? next = null;
        while (true)
        {
            List<string> query = [$"max-keys={maxKeys}", $"prefix={Uri.EscapeDataString(prefix)}"];
            if (delimiter is not null) query.Add($"delimiter={Uri.EscapeDataString(delimiter)}");
            if (isV2) query.Add("list-type=2");
            if (next is not null) query.Add($"{(isV2 ? "continuation-token" : "marker")}={Uri.EscapeDataString(next)}");
            Exchange answer = await Fixture.SendAsync(new Call("GET", $"/{Bucket}", string.Join('&', query)));
            Assert.Equal(200, answer.Status);
            string[] page = [.. answer.Values("Key"), .. answer.Document.Elements().Where(e => e.Name.LocalName == "CommonPrefixes").Select(e => e.Value + "*")];
            Assert.InRange(page.Length, 0, maxKeys);
            all.AddRange(page.Order(StringComparer.Ordinal));
            if (answer.Values("IsTruncated")[0] == "false") return [.. all.Order(StringComparer.Ordinal)];
            next = answer.Values(isV2 ? "NextContinuationToken" : "NextMarker").Single();
            Assert.True(all.Count <= 100, "The listing does not end.");
        }
    }
}
