package standin;

import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.core.LowerCaseFilter;
import org.apache.lucene.analysis.util.CharTokenizer;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.index.IndexSettings;
import org.opensearch.index.analysis.AbstractTokenFilterFactory;
import org.opensearch.index.analysis.AbstractTokenizerFactory;
import org.opensearch.index.analysis.TokenFilterFactory;
import org.opensearch.index.analysis.TokenizerFactory;
import org.opensearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.opensearch.plugins.AnalysisPlugin;
import org.opensearch.plugins.ExtensiblePlugin;
import org.opensearch.plugins.Plugin;

/**
 * What stands in for two modules that the OpenSearch 2.19 of Maven comes without: of the analysis the
 * tokenizer and the filter that the mappings name, made of Lucene's own; of Painless, which nobody
 * asks for anything, that it is there, for the k-NN plugin extends it.
 */
public final class StandIns {
    public static final class Analysis extends Plugin implements AnalysisPlugin {
        @Override
        public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
            return Map.of("char_group", CharGroup::new);
        }

        @Override
        public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
            return Map.of("lowercase", Lowercase::new);
        }
    }

    public static final class Painless extends Plugin implements ExtensiblePlugin {}

    static final class CharGroup extends AbstractTokenizerFactory {
        private final Set<Integer> signs = new HashSet<>();

        CharGroup(IndexSettings index, Environment environment, String name, Settings settings) {
            super(index, settings, name);
            for (String one : settings.getAsList("tokenize_on_chars")) {
                signs.add(one.codePointAt(0));
            }
        }

        @Override
        public Tokenizer create() {
            return CharTokenizer.fromSeparatorCharPredicate(signs::contains);
        }
    }

    static final class Lowercase extends AbstractTokenFilterFactory {
        Lowercase(IndexSettings index, Environment environment, String name, Settings settings) {
            super(index, name, settings);
        }

        @Override
        public TokenStream create(TokenStream input) {
            return new LowerCaseFilter(input);
        }
    }
}
