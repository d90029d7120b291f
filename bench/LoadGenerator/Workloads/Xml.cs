using System.Net;
using System.Text;

namespace ObjectStore.LoadGenerator.Workloads;

/// <summary>Finds elements in S3's answers, whose elements carry no attributes and no prefixes. Not an XML parser.</summary>
public static class Xml
{
    /// <summary>The text of the first element of this name, or null.</summary>
    public static string? Element(ReadOnlySpan<byte> document, string name)
    {
        int start = document.IndexOf(Encoding.ASCII.GetBytes($"<{name}>"));
        if (start < 0) return null;
        document = document[(start + name.Length + 2)..];
        int end = document.IndexOf((byte)'<');
        return end < 0 ? null : WebUtility.HtmlDecode(Encoding.UTF8.GetString(document[..end]));
    }

    /// <summary>The texts of all elements of this name, in order.</summary>
    public static List<string> Elements(ReadOnlySpan<byte> document, string name)
    {
        List<string> texts = [];
        byte[] open = Encoding.ASCII.GetBytes($"<{name}>");
        int start;
        while ((start = document.IndexOf(open)) >= 0)
        {
            document = document[(start + open.Length)..];
            int end = document.IndexOf((byte)'<');
            if (end < 0) break;
            texts.Add(WebUtility.HtmlDecode(Encoding.UTF8.GetString(document[..end])));
        }

        return texts;
    }
}
