using System.Buffers;
using System.IO.Pipelines;
using System.Text;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Transport;

/// <summary>Between Kestrel and the fragment server: nothing but HTTP. Thread-safe.</summary>
internal sealed class FragmentEndpoints(FragmentServer server)
{
    private const string FrameType = "application/vnd.objectstore.frame";

    public static bool Handles(HttpContext http) => FragmentServer.Handles(http.Request.Path.Value ?? "");

    public async Task HandleAsync(HttpContext http)
    {
        CancellationToken aborted = http.RequestAborted;
        try
        {
            using FragmentAnswer answer = await server.HandleAsync(
                http.Request.Method, http.Request.QueryString.HasValue ? "" : http.Request.Path.Value ?? "", http.Request.ContentLength, http.Request.BodyReader, aborted);
            await SendAsync(http.Response, answer, aborted);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The peer is gone, or its body broke off. Whoever is left gets no answer that could be taken for one of the drive's.
            http.Abort();
        }
    }

    private static async ValueTask SendAsync(HttpResponse response, FragmentAnswer answer, CancellationToken aborted)
    {
        response.StatusCode = answer.HttpStatus;
        if (answer.RetryLater) response.Headers.RetryAfter = "1";
        if (answer.Text is { } text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text + "\n");
            response.ContentType = "text/plain; charset=utf-8";
            response.ContentLength = bytes.Length;
            await response.Body.WriteAsync(bytes, aborted);
            return;
        }

        response.ContentType = FrameType;
        response.ContentLength = answer.Frame.Length + answer.Payload.Length;
        PipeWriter writer = response.BodyWriter;
        writer.Write(answer.Frame.Span);
        if (answer.Payload.Length > 0) writer.Write(answer.Payload.Span);
        await writer.FlushAsync(aborted);
    }
}
