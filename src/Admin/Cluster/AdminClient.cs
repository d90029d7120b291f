using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using ObjectStore.Admin.CommandLine;

namespace ObjectStore.Admin.Cluster;

/// <summary>Speaks to one node's admin interface. Every failure is a <see cref="CommandFailedException"/> that says what to do.</summary>
internal sealed class AdminClient : IDisposable
{
    public static readonly string[] Options = ["--endpoint", "--token-file", "--format"];
    public static readonly string[] Flags = ["--allow-plaintext"];

    public const string OptionsHelp = """
          --endpoint URL      The node. Default: http://127.0.0.1:9000
          --token-file FILE   The file admin.token of the node's data folder. Default: OBJECTSTORE_ADMIN_TOKEN, which holds the token itself, or ./data/admin.token
          --allow-plaintext   Send the token by http to another machine, where anyone on the way can read it
          --format FORMAT     text or json. Default: text
          --help              Print this, and stop.
        """;

    private const int MaxAnswerBytes = 64 << 20;
    private static readonly string DefaultTokenFile = Path.Combine("data", AdminApi.TokenFileName);

    private readonly HttpClient _http;
    private readonly Uri _endpoint;

    private AdminClient(HttpClient http, Uri endpoint, string token)
    {
        _http = http;
        _endpoint = endpoint;
        _http.MaxResponseContentBufferSize = MaxAnswerBytes;
        _http.DefaultRequestHeaders.Add(AdminApi.TokenHeader, token);
        _http.DefaultRequestHeaders.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
    }

    /// <exception cref="UsageException">The endpoint cannot be used, or there is no token.</exception>
    public static AdminClient Open(Arguments arguments, CommandContext context)
    {
        Uri endpoint = Quantities.Endpoint("--endpoint", arguments.Value("--endpoint") ?? "http://127.0.0.1:9000");
        if (endpoint.Scheme == "http" && !endpoint.IsLoopback && !arguments.Has("--allow-plaintext"))
            throw new UsageException($"--endpoint is '{endpoint}', where the token would go over the network in the clear; use https, run this on the node itself, or say --allow-plaintext");
        return new AdminClient(context.NewHttpClient(), endpoint, ReadToken(arguments, context));
    }

    /// <summary>Whether a token was given, or stands where it is looked for.</summary>
    public static bool HasToken(Arguments arguments, CommandContext context)
        => arguments.Value("--token-file") is not null || context.Environment("OBJECTSTORE_ADMIN_TOKEN") is { Length: > 0 } || File.Exists(DefaultTokenFile);

    public Task<T> GetAsync<T>(string path, JsonTypeInfo<T> type, CancellationToken cancellationToken) => SendAsync(HttpMethod.Get, path, null, type, cancellationToken);

    public Task<T> PostAsync<T, TBody>(string path, TBody body, JsonTypeInfo<TBody> bodyType, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        ByteArrayContent content = new(JsonSerializer.SerializeToUtf8Bytes(body, bodyType));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return SendAsync(HttpMethod.Post, path, content, type, cancellationToken);
    }

    public void Dispose() => _http.Dispose();

    private string Node => _endpoint.GetLeftPart(UriPartial.Authority);

    private async Task<T> SendAsync<T>(HttpMethod method, string path, HttpContent? content, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        try
        {
            using HttpRequestMessage request = new(method, new Uri(_endpoint, path)) { Content = content };
            using HttpResponseMessage response = await _http.SendAsync(request, cancellationToken);
            byte[] body = await response.Content.ReadAsByteArrayAsync(cancellationToken);
            if (!response.IsSuccessStatusCode) throw Refused(response.StatusCode, body, path);
            return JsonSerializer.Deserialize(body, type) ?? throw new CommandFailedException($"{Node} answered {path} with nothing");
        }
        catch (JsonException e)
        {
            throw new CommandFailedException($"{Node} answered {path} with what this version does not understand: {e.Message}", e);
        }
        catch (HttpRequestException e)
        {
            throw new CommandFailedException($"{Node} cannot be reached: {e.InnerException?.Message ?? e.Message}", e);
        }
        catch (TaskCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new CommandFailedException($"{Node} did not answer within {_http.Timeout.TotalSeconds:0} seconds; what was asked for may have been done", e);
        }
    }

    private CommandFailedException Refused(HttpStatusCode status, byte[] body, string path)
    {
        AdminError? error = null;
        try
        {
            error = JsonSerializer.Deserialize(body, AdminApiJson.Default.AdminError);
        }
        catch (JsonException)
        {
            // Not of the admin interface, or of something in between: the status has to do.
        }

        string message = (status, error) switch
        {
            (HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden, _) => $"{Node} refuses the token; use the file {AdminApi.TokenFileName} of that node's data folder with --token-file",
            (_, { Error.Length: > 0, Remedy.Length: > 0 }) => $"{error.Error}; {error.Remedy}",
            (_, { Error.Length: > 0 }) => error.Error,
            (HttpStatusCode.NotFound, _) => $"{Node} has no {path}; is it a node of ObjectStore, and as new as this tool?",
            _ => $"{Node} answered {path} with status {(int)status}",
        };
        return new CommandFailedException(message);
    }

    private static string ReadToken(Arguments arguments, CommandContext context)
    {
        string? token = null, from = arguments.Value("--token-file");
        if (from is null)
        {
            token = context.Environment("OBJECTSTORE_ADMIN_TOKEN") is { Length: > 0 } given ? given : null;
            from = token is null ? DefaultTokenFile : "OBJECTSTORE_ADMIN_TOKEN";
        }

        try
        {
            token ??= File.ReadAllText(from);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"--token-file '{from}' cannot be read ({(e is UnauthorizedAccessException ? "not permitted" : "no such file")}); name the file {AdminApi.TokenFileName} of the node's data folder");
        }

        token = token.Trim();
        return token.Length is >= 32 and <= 512 && token.All(char.IsAsciiLetterOrDigit)
            ? token
            : throw new UsageException($"--token-file '{from}' holds no token; it is one line of 32 or more letters and digits");
    }
}
